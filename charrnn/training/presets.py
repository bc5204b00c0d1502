"""Chooses the network and training settings for a text, by its size and this machine's speed.

The presets are the best of those that were tried. Their loss, in nats per character of the
validation part:

    5 kB of Shakespeare        2.21; without dropped recurrent weights 2.30
    20 kB                      1.79; without dropped recurrent weights 1.94
    80 kB                      1.49; adam 1.58, and without dropped recurrent weights 1.63
    200 kB                     1.64; adam without dropped recurrent weights 1.77
    1 MB                       1.46 in two minutes

A text that is too small for a validation part can only be memorized. It is read until its training
loss is near the minimum: that of five names is 0.31 (ln 5 for each of 5.2 characters), that of a
paragraph of 300 characters below 0.01.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from typing import Any, NamedTuple

import numpy as np

from charrnn.config.schema import SECTIONS, Config, CorpusConfig
from charrnn.data.corpus import Corpus, Records
from charrnn.data.text_profile import TextProfile
from charrnn.data.vocabulary import Vocab
from charrnn.parallel import local, worker_count
from charrnn.parallel.group import ProcessGroup
from charrnn.parallel.mpi import launch
from charrnn.training.loop import SCORING_COST
from charrnn.training.trainer import Trainer
from charrnn.units import duration

logger = logging.getLogger("charrnn")

MINUTES = 2.0  # that a run may take
MEASURE_S = 0.3  # seconds of updates that measure the speed
BUSY_SHARE = 0.8  # of a core; where training gets less, other programs keep the machine busy
MIN_CHARS_READ = 1_500_000  # characters that a network must be able to read in a run
MIN_HIDDEN = 32
CELL = "gru"  # 1.61 nats after 5,000 steps on the 1 MB; an lstm with as many units 1.73
SAMPLE_CHARS, SAMPLE_LINES = 200_000, 5_000  # of the text that measures the speed
VALIDATIONS = 10  # in a run

VALIDATION = 0.1  # share of the text held out
MIN_STREAM_CHARS = 2_000  # a shorter stream has no validation part, and is memorized
MIN_LINES = 50  # a list of fewer distinct lines has no validation part, and is memorized
MEMORIZED_CHARS = 250_000  # that are read of a text that is memorized
MEMORIZED = "So small a text can only be memorized: what the model writes repeats it"
MAX_VALIDATION_CHARS = 200_000  # characters of a validation part

MAX_WINDOW = 256  # steps; a longer line is read in several windows
MAX_LOGITS = 1 << 23  # numbers in the output (T, B, V) of a window


class Preset(NamedTuple):
    """The settings of a network and its training, for texts of up to `chars` characters."""

    chars: float
    hidden: int
    dropout: float
    recurrent_dropout: float
    batch_size: int
    seq_length: int
    epochs: float  # the validation loss hardly improves after them
    optimizer: str = "adam"
    learning_rate: float = 0.003
    cell: str = CELL


PRESETS = {
    "lines": (
        Preset(3_000, 64, 0.5, 0.3, 8, MAX_WINDOW, 35, "adam", 0.008),
        Preset(8_000, 96, 0.5, 0.3, 16, MAX_WINDOW, 35, "adam", 0.008),
        Preset(30_000, 128, 0.5, 0.3, 16, MAX_WINDOW, 25, "adam", 0.008),
        Preset(100_000, 192, 0.4, 0.2, 32, MAX_WINDOW, 18, "adam", 0.006),
        Preset(math.inf, 256, 0.4, 0, 64, MAX_WINDOW, 14, "adam", 0.006),
    ),
    "stream": (
        Preset(20_000, 64, 0.4, 0.3, 4, 32, 60, "adam", 0.015),
        Preset(100_000, 192, 0.3, 0.2, 16, 64, 28, "muon", 0.015),
        Preset(500_000, 256, 0.2, 0.1, 32, 64, 20, "muon", 0.02),
        Preset(3_000_000, 256, 0.1, 0.05, 32, 64, 12, "muon", 0.02),
        Preset(math.inf, 256, 0, 0, 32, 64, 12, "muon", 0.02),
    ),
}

MEMORIZING = {  # 1,000 epochs also learn a text of a few words
    "lines": Preset(math.inf, 64, 0, 0, 4, MAX_WINDOW, 1_000),
    "stream": Preset(math.inf, 64, 0, 0, 1, 32, 1_000),
}


class Plan(NamedTuple):
    """A preset adapted to one text and this machine."""

    preset: Preset
    validation: float  # share of the text held out
    steps: int  # updates, estimated
    chars_per_s: float  # of training
    seconds: float  # of the whole run, validations included


def plan(profile: TextProfile, cell: str = CELL, minutes: float = MINUTES) -> Plan:
    """Return the plan for a text, with a network that this machine can train in these minutes.

    Where other programs keep the machine busy, the plan is for the quiet machine, and a message
    says so.
    """
    lines = profile.mode == "lines"
    chars = sum(map(len, profile.records)) + len(profile.records) if lines else len(profile.text)
    validation = _validation(profile, chars)
    held_out = round(chars * validation)
    training = chars - held_out
    if validation:
        preset = next(preset for preset in PRESETS[profile.mode] if chars <= preset.chars)
    else:
        preset = MEMORIZING[profile.mode]
        preset = preset._replace(epochs=min(preset.epochs, MEMORIZED_CHARS / training))
    preset = _fit(preset._replace(cell=cell), profile, training)
    scoring = VALIDATIONS * SCORING_COST * held_out  # their time, as characters to train on
    while True:
        chars_per_s, share = _measure_speed(profile, preset)
        readable = max(60 * minutes * chars_per_s - scoring, training / 1000)
        if readable >= min(MIN_CHARS_READ, preset.epochs * training) or preset.hidden <= MIN_HIDDEN:
            break
        preset = preset._replace(
            hidden=preset.hidden // 2,
            dropout=preset.dropout / 2,
            recurrent_dropout=preset.recurrent_dropout / 2,
        )
    epochs = min(preset.epochs, readable / training)
    preset = preset._replace(epochs=float(f"{epochs:.2g}"))
    row = chars / len(profile.records) if lines else preset.seq_length
    steps = max(1, round(preset.epochs * training / (preset.batch_size * row)))
    seconds = (preset.epochs * training + scoring) / chars_per_s
    if share < BUSY_SHARE:
        logger.info(
            f"this machine is busy: other programs leave training {share:.0%} of the time. The "
            f"config is for the quiet machine, where the run takes about {duration(seconds)}, and "
            f"about {duration(seconds / share)} now"
        )
    return Plan(preset, validation, steps, chars_per_s, seconds)


def _validation(profile: TextProfile, chars: int) -> float:
    """Return the share of the text to hold out, or 0 if the text is too small."""
    share = float(f"{min(VALIDATION, MAX_VALIDATION_CHARS / chars):.1g}")
    if profile.mode == "stream":
        large = chars >= MIN_STREAM_CHARS
    else:
        large = len(set(profile.records)) * share >= MIN_LINES * VALIDATION
    return share if large else 0


def _fit(preset: Preset, profile: TextProfile, training: int) -> Preset:
    """Return the preset with windows that the text fills and whose logits fit in memory."""
    if profile.mode == "lines":
        T = min(preset.seq_length, profile.lengths[-1] + 1)  # a line and its newline
        rows = len(profile.records) // 8
    else:
        T = min(preset.seq_length, training - 2)
        if preset.batch_size == 1:  # to memorize: an epoch leaves out as few characters as it can
            T = min(range(T, T // 2, -1), key=lambda T: (training - 2) % T)
        rows = training // (T + 2)
    max_rows = MAX_LOGITS // (T * (len(profile.counts) + 1))
    return preset._replace(seq_length=T, batch_size=max(1, min(preset.batch_size, rows, max_rows)))


def _measure_speed(profile: TextProfile, preset: Preset) -> tuple[float, float]:
    """Return the training speed with this preset on a sample of the text, as `_measure` does."""
    sections = {name: SECTIONS[name](**values) for name, values in settings(preset).items()}
    config = Config(CorpusConfig(mode=profile.mode), **sections)
    vocab = Vocab("".join(sorted({*profile.counts, "\n"})))
    training, records = vocab.encode(profile.text[:SAMPLE_CHARS]), None
    if profile.mode == "lines":
        lines = profile.records[:: 1 + len(profile.records) // SAMPLE_LINES]
        training, records = np.arange(len(lines)), Records.of(lines, vocab.encode)
    corpus = Corpus(vocab, training, np.arange(0), "", records)
    measure = functools.partial(_measure, config=config, corpus=corpus)
    # The processes of mpiexec wait meanwhile, and keep the other cores busy.
    return local.run(1 if launch().size > 1 else worker_count.for_training(config), measure)


def _measure(group: ProcessGroup, config: Config, corpus: Corpus) -> tuple[float, float]:
    """Return the characters per second of a quiet machine, from updates for MEASURE_S seconds.

    Returns also the share of the time in which this process had a core, of the rank that had most:
    a rank with fewer rows waits for it. The speed is the measured one, divided by this share.
    """
    trainer = Trainer(config, corpus, group)
    trainer.update()  # not measured: it also allocates the memory
    trainer.training_state.recent_chars = 0
    start, cpu_start = time.perf_counter(), time.process_time()

    def timed_out() -> bool:
        return time.perf_counter() - start > MEASURE_S

    while True:
        trainer.update(timed_out)
        if trainer.must_stop(timed_out):
            break
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    share = max(group.allgather(min(1.0, cpu_seconds / seconds)))
    share = max(share, 0.1)  # a coarse clock may have counted nothing
    return trainer.training_state.recent_chars / seconds / share, share


def settings(preset: Preset) -> dict[str, dict[str, Any]]:
    """Return the settings of a preset by config section, without those of corpus and output."""
    model: dict[str, Any] = {"cell": preset.cell, "hidden": preset.hidden}
    if preset.dropout:
        model["dropout"] = preset.dropout
    if preset.recurrent_dropout:
        model["recurrent_dropout"] = preset.recurrent_dropout
    optimizer: dict[str, Any] = {"name": preset.optimizer, "learning_rate": preset.learning_rate}
    if preset.optimizer == "muon":
        optimizer["weight_decay"] = 0.02
        if preset.dropout:
            model["variational_dropout"] = True
    return {
        "model": model,
        "train": {
            "batch_size": preset.batch_size,
            "seq_length": preset.seq_length,
            "epochs": preset.epochs,
            "reduction": "mean",
            "seed": 1,
        },
        "optimizer": {**optimizer, "clip": 1, "clip_by": "norm", "schedule": "cosine"},
    }
