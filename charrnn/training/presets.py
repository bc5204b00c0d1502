"""Chooses a network and its training for a text, and measures how fast this machine trains it.

The recipes were chosen by trying, in nats per character of the validation part:

    1,433 dinosaurs            1.62 in 5 s, where configs/dinos.yaml comes to 1.73
    32,033 first names         1.98 in a minute; a gru of 192 units 2.01
    5 kB of Shakespeare        2.25 in 2 s
    40 kB                      1.93 in 20 s; a gru of 128 units 1.96
    250 kB                     1.56 in 95 s; a gru of 128 units 1.63
    1 MB                       1.55 in two minutes; a gru of 128 units 1.61
"""

from __future__ import annotations

import functools
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
from charrnn.training.trainer import Trainer

BUDGET_S = 120.0  # seconds that a run may take
MEASURE_S = 0.3  # seconds of updates that its speed is taken from
LEAST_READ = 1_500_000  # characters: a network too slow to read them in its time is too large
LEAST_HIDDEN = 32
CELL = "gru"  # after 5,000 steps of that megabyte 1.61 nats; an lstm of as many units 1.73
SAMPLE_CHARS, SAMPLE_LINES = 200_000, 5_000  # of the text that the speed is measured on
SCORING = 0.4  # time to score a character, as a share of the time to train on it
VALIDATIONS = 10  # in a run

VALIDATION = 0.1  # share held out
LEAST_CHARS = 2_000  # of a stream that has a validation part
LEAST_LINES = 50  # different ones, of a list that has a validation part
MOST_SCORED = 200_000  # characters of a validation part

LONGEST_WINDOW = 256  # steps; longer lines are read in several windows
MOST_LOGITS = 1 << 23  # numbers in the output (T, B, V) of a window


class Recipe(NamedTuple):
    """A gru and its training, for texts of up to so many characters."""

    chars: float
    hidden: int
    dropout: float
    batch_size: int
    seq_length: int
    epochs: float  # after as many it no longer gets better
    learning_rate: float = 0.003


RECIPES = {
    "lines": (
        Recipe(3_000, 64, 0.5, 8, LONGEST_WINDOW, 35),
        Recipe(8_000, 96, 0.5, 16, LONGEST_WINDOW, 35),
        Recipe(30_000, 128, 0.5, 16, LONGEST_WINDOW, 25),
        Recipe(100_000, 192, 0.4, 32, LONGEST_WINDOW, 14),
        Recipe(math.inf, 256, 0.4, 32, LONGEST_WINDOW, 12),
    ),
    "stream": (
        Recipe(2_000, 32, 0.3, 2, 16, 40),
        Recipe(20_000, 64, 0.5, 4, 32, 40),
        Recipe(100_000, 192, 0.6, 8, 64, 25),
        Recipe(500_000, 256, 0.4, 16, 64, 15),
        Recipe(math.inf, 256, 0.1, 16, 64, 10, 0.004),
    ),
}


class Plan(NamedTuple):
    """A recipe made to fit one text and this machine."""

    recipe: Recipe
    validation: float  # share held out
    steps: int  # about as many updates
    chars_per_s: float  # of training
    seconds: float  # of the whole run, validations included


def plan(profile: TextProfile) -> Plan:
    """The recipe for a text, no larger than this machine can train in its time."""
    lines = profile.mode == "lines"
    chars = sum(profile.lengths) + len(profile.records) if lines else len(profile.text)
    validation = _validation(profile, chars)
    held_out = round(chars * validation)
    training = chars - held_out
    recipe = next(recipe for recipe in RECIPES[profile.mode] if chars <= recipe.chars)
    recipe = _fitted(recipe, profile, training)
    scored = VALIDATIONS * SCORING * held_out  # takes as long as to train on so many
    while True:
        chars_per_s = _chars_per_s(profile, recipe)
        readable = max(BUDGET_S * chars_per_s - scored, training / 1000)
        if readable >= min(LEAST_READ, recipe.epochs * training) or recipe.hidden <= LEAST_HIDDEN:
            break
        recipe = recipe._replace(hidden=recipe.hidden // 2, dropout=recipe.dropout / 2)
    recipe = recipe._replace(epochs=min(recipe.epochs, float(f"{readable / training:.2g}")))
    row = chars / len(profile.records) if lines else recipe.seq_length
    steps = max(1, round(recipe.epochs * training / (recipe.batch_size * row)))
    seconds = (recipe.epochs * training + scored) / chars_per_s
    return Plan(recipe, validation, steps, chars_per_s, seconds)


def _validation(profile: TextProfile, chars: int) -> float:
    """The share to hold out, or 0 for a text too small for one."""
    share = float(f"{min(VALIDATION, MOST_SCORED / chars):.1g}")
    if profile.mode == "stream":
        large = chars >= LEAST_CHARS
    else:
        large = len(set(profile.records)) * share >= LEAST_LINES * VALIDATION
    return share if large else 0


def _fitted(recipe: Recipe, profile: TextProfile, training: int) -> Recipe:
    """The recipe with windows that the text can fill and the memory can hold."""
    if profile.mode == "lines":
        T = min(recipe.seq_length, profile.lengths[-1] + 1)  # with its newline
        rows = len(profile.records) // 8
    else:
        T = min(recipe.seq_length, training - 2)
        rows = training // (T + 2)
    most = MOST_LOGITS // (T * (len(profile.counts) + 1))
    return recipe._replace(seq_length=T, batch_size=max(1, min(recipe.batch_size, rows, most)))


def _chars_per_s(profile: TextProfile, recipe: Recipe) -> float:
    """How fast this machine trains by the recipe: a moment's updates on a part of the text."""
    sections = {name: SECTIONS[name](**values) for name, values in settings(recipe).items()}
    config = Config(CorpusConfig(mode=profile.mode), **sections)
    vocab = Vocab("".join(sorted({*profile.counts, "\n"})))
    training, records = vocab.encode(profile.text[:SAMPLE_CHARS]), None
    if profile.mode == "lines":
        lines = profile.records[:: 1 + len(profile.records) // SAMPLE_LINES]
        training, records = np.arange(len(lines)), Records.of(lines, vocab.encode)
    corpus = Corpus(vocab, training, np.arange(0), "", records)
    measure = functools.partial(_measure, config=config, corpus=corpus)
    speeds = local.run(worker_count.for_training(config), measure)
    return float(np.median(speeds))  # other programs' bursts do not count


def _measure(group: ProcessGroup, config: Config, corpus: Corpus) -> list[float]:
    """Characters a second in each of a moment's updates."""
    trainer = Trainer(config, corpus, group)
    trainer.update()  # the first also allocates the memory
    end, speeds = time.perf_counter() + MEASURE_S, list[float]()

    def over() -> bool:
        return time.perf_counter() > end

    while not (speeds and trainer.must_stop(over)):
        trainer.progress.recent_chars, started = 0, time.perf_counter()
        trainer.update(over)
        speeds.append(trainer.progress.recent_chars / (time.perf_counter() - started))
    return speeds


def settings(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """The settings of a recipe by their sections, all but those of the corpus and the output."""
    return {
        "model": {"cell": CELL, "hidden": recipe.hidden, "dropout": recipe.dropout},
        "train": {
            "batch_size": recipe.batch_size,
            "seq_length": recipe.seq_length,
            "epochs": recipe.epochs,
            "reduction": "mean",
            "seed": 1,
        },
        "optimizer": {
            "name": "adam",
            "learning_rate": recipe.learning_rate,
            "clip": 1,
            "clip_by": "norm",
            "schedule": "cosine",
        },
    }
