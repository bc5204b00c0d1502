"""The training loop: window after window, and now and then validate, show a sample and save.

    loss, state = forward(window, state)
    gradient    = backward(window)
    clip, then one step of the optimiser

A `Trainer` is all that a run consists of. It prints nothing: a `Watch` is told what happens.
"""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from charrnn import batches, checkpoint
from charrnn.checkpoint import HISTORY, Checkpoint
from charrnn.config import DEFAULT_STEPS, Config
from charrnn.corpus import Corpus
from charrnn.errors import CheckpointError, DivergedError, Interrupted
from charrnn.evaluate import Evaluator, Score
from charrnn.model import Model, Workspaces
from charrnn.optim import OPTIMIZERS, clip_by_value
from charrnn.randomness import Purpose, generator
from charrnn.sample import Sampler, Taste

SAMPLE_CHARS = 200  # length of the samples shown while training
TICK = 0.1  # seconds between two updates of the progress bar


@dataclass(frozen=True)
class Report:
    """The state of a run at a validation."""

    step: int
    steps: int
    epoch: int
    seconds: float  # of training so far, earlier runs included
    smooth_loss: float  # as in Karpathy's gist: nats a window, 0.999 old and 0.001 new
    smooth_nats: float  # the same per character
    train_nats: float  # per character, the mean since the last report
    validation: Score | None
    chars_per_s: float  # since the last report, validation not counted

    def as_dict(self) -> dict[str, Any]:
        """One line of the metrics file."""
        nats = self.validation.nats if self.validation else None
        return {
            "step": self.step,
            "epoch": self.epoch,
            "seconds": round(self.seconds, 3),
            "smooth_loss": self.smooth_loss,
            "smooth_nats": self.smooth_nats,
            "smooth_bits": self.smooth_nats / math.log(2),
            "train_nats": self.train_nats,
            "train_bits": self.train_nats / math.log(2),
            "validation_nats": nats,
            "validation_bits": None if nats is None else nats / math.log(2),
            "chars_per_s": round(self.chars_per_s, 1),
        }


class Watch(Protocol):
    """What a run tells, and the one thing it asks."""

    def started(self, step: int, steps: int, initial_nats: float, vocab_size: int) -> None:
        """Training begins, or goes on, at `step`."""

    def ticked(self, step: int, smooth_nats: float) -> None:
        """Some steps later."""

    def validated(self, report: Report) -> None:
        """A validation is done."""

    def sampled(self, step: int, text: str) -> None:
        """A text was sampled."""

    def check(self) -> None:
        """Raise StopAsked when the run is to save and leave."""


class StopAsked(Exception):
    """Somebody wants the run to end here."""


class Trainer:
    """The network, its optimiser, the place in the text, and the smoothed loss."""

    def __init__(self, config: Config, corpus: Corpus) -> None:
        """Fresh weights from the config's seed. Raises CorpusError when the text is too short."""
        assert config.train.seed is not None
        self.config = config
        self.corpus = corpus
        self.model = Model.of(config.model, len(corpus.vocab))
        self.params = self.model.init(generator(config.train.seed, Purpose.WEIGHTS))
        self.grads = self.params.zeros_like()
        size, dtype = self.params.flat.size, self.model.dtype
        self.optimizer = OPTIMIZERS[config.optimizer.name](size, dtype)
        self.batches = batches.of(
            corpus,
            config.train.window("stream" if corpus.records is None else "lines"),
            config.train.batch_size,
            config.train.seed,
            dtype,
        )
        self.works = Workspaces(self.model)
        self.evaluator = Evaluator(self.model, self.params)
        self.state = self.model.zero_state(config.train.batch_size)
        self.step = 0
        self.steps = self._total_steps()
        self.history: list[list[float]] = []
        self.seconds = 0.0
        self.smooth_loss = 0.0  # nats a row of a window; set by the first one
        self.smooth_chars = 0.0  # characters a row of a window
        self.recent_nats = 0.0  # sums since the last report
        self.recent_chars = 0
        self.recent_seconds = 0.0
        self.validated_at = -1  # steps, so that nothing is done twice after a resume
        self.sampled_at = -1

    def _total_steps(self) -> int:
        train = self.config.train
        if train.epochs is not None:
            return max(1, round(train.epochs * self.batches.per_epoch()))
        return train.steps or DEFAULT_STEPS

    def initial_nats(self) -> float:
        """Nats per character of the next window, before anything is learnt from it."""
        position = self.batches.position()
        batch = self.batches.next()
        self.batches.seek(position)
        T, B = batch.ids.shape
        state = self.model.zero_state(B) if batch.fresh else self.state
        loss, _ = self.model.forward(self.params, batch, state, self.works.get(T, B))
        return float(loss * B / batch.chars)

    def update(self) -> float:
        """One window, one update. Returns the window's loss in nats, summed over time.

        Raises DivergedError when it is not a finite number; the weights are then as they were.
        """
        batch = self.batches.next()
        T, B = batch.ids.shape
        if batch.fresh:
            self.state = self.model.zero_state(B)
        work = self.works.get(T, B)
        loss, self.state = self.model.forward(self.params, batch, self.state, work)
        if not math.isfinite(loss):
            raise DivergedError(self._advice(f"the loss is {loss} at step {self.step + 1:,}"))
        chars = batch.chars
        scale = 1.0 if self.config.train.reduction == "sum" else B / chars
        self.model.backward(self.params, batch, work, self.grads, scale)
        optimizer = self.config.optimizer
        if optimizer.clip is not None:
            clip_by_value(self.grads.flat, optimizer.clip)
        self.optimizer.step(self.params.flat, self.grads.flat, optimizer.learning_rate)
        if self.step == 0:
            self.smooth_chars = chars / B
            self.smooth_loss = math.log(len(self.corpus.vocab)) * self.smooth_chars
        self.smooth_loss = self.smooth_loss * 0.999 + loss * 0.001
        self.smooth_chars = self.smooth_chars * 0.999 + chars / B * 0.001
        self.recent_nats += loss * B
        self.recent_chars += chars
        self.step += 1
        return loss

    @property
    def smooth_nats(self) -> float:
        """The smoothed loss per character, in nats."""
        return self.smooth_loss / self.smooth_chars if self.smooth_chars else math.nan

    def _advice(self, what: str) -> str:
        rate = self.config.optimizer.learning_rate
        return (
            f"training diverged: {what}. Try a lower learning rate: "
            f"--set optimizer.learning_rate={rate / 10:g}"
        )

    def run(self, path: str, watch: Watch) -> None:
        """Train to the last step, saving to `path` at every validation and at the end.

        Raises Interrupted, after saving, when `watch` asks to stop; DivergedError, with the last
        checkpoint kept; CheckpointError when it cannot be saved.
        """
        output = self.config.output
        watch.started(self.step, self.steps, self.initial_nats(), len(self.corpus.vocab))
        metrics = Metrics(path, self.step)
        try:
            while True:
                done = self.step >= self.steps
                if self._is_due(output.validate_every) and self.validated_at != self.step:
                    report = self._validate(watch)
                    self.save(path)
                    metrics.add(report)
                    watch.validated(report)
                    if self._is_due(output.sample_every):
                        watch.sampled(self.step, self.sample())
                elif self._is_due(output.sample_every) and self.step > self.sampled_at:
                    watch.sampled(self.step, self.sample())
                self.sampled_at = self.step
                if done:
                    return
                self._train(watch)
        except StopAsked:
            self.save(path)
            raise Interrupted(
                f"stopped at step {self.step:,} of {self.steps:,} and saved; to go on: "
                f"charrnn train {shlex.quote(path)} --resume"
            ) from None

    def _is_due(self, every: int | None) -> bool:
        """Whether something done at the end and every so many steps is to be done now."""
        return self.step >= self.steps or (every is not None and self.step % every == 0 < self.step)

    def _train(self, watch: Watch) -> None:
        """Updates up to the next thing due. Raises StopAsked between two of them."""
        output = self.config.output
        begun = last = time.perf_counter()
        try:
            while True:
                self.update()
                if self._is_due(output.validate_every) or self._is_due(output.sample_every):
                    break
                now = time.perf_counter()
                if now - last > TICK:
                    last = now
                    watch.ticked(self.step, self.smooth_nats)
                    watch.check()
        finally:
            elapsed = time.perf_counter() - begun
            self.seconds += elapsed
            self.recent_seconds += elapsed
        watch.ticked(self.step, self.smooth_nats)
        watch.check()

    def _validate(self, watch: Watch) -> Report:
        """Score the validation part and put the result into the history."""
        begun = time.perf_counter()
        validation = self.evaluator.validation(self.corpus, watch.check)
        self.seconds += time.perf_counter() - begun
        report = Report(
            step=self.step,
            steps=self.steps,
            epoch=self.batches.epoch,
            seconds=self.seconds,
            smooth_loss=self.smooth_loss,
            smooth_nats=self.smooth_nats,
            train_nats=self.recent_nats / max(self.recent_chars, 1),
            validation=validation,
            chars_per_s=self.recent_chars / max(self.recent_seconds, 1e-9),
        )
        nats = validation.nats if validation else math.nan
        self.history.append([self.step, self.seconds, report.smooth_nats, report.train_nats, nats])
        self.recent_nats, self.recent_chars, self.recent_seconds = 0.0, 0, 0.0
        self.validated_at = self.step
        return report

    def sample(self) -> str:
        """A text from the model as it is now; the run's own random numbers are not touched."""
        assert self.config.train.seed is not None
        mode = self.config.corpus.mode
        sampler = Sampler(self.model, self.params, self.corpus.vocab, mode)
        rng = generator(self.config.train.seed, Purpose.SAMPLE, self.step)
        return "".join(sampler.text(rng, Taste(), chars=SAMPLE_CHARS))

    def save(self, path: str) -> None:
        """Write a checkpoint. Raises CheckpointError, and DivergedError rather than save NaN."""
        if not np.isfinite(self.params.flat).all():
            raise DivergedError(self._advice(f"a weight is not finite at step {self.step:,}"))
        checkpoint.save(self.snapshot(), path)

    def snapshot(self) -> Checkpoint:
        """Everything that the next step depends on. The arrays are the run's own, not copies."""
        return Checkpoint(
            config=self.config,
            vocab=self.corpus.vocab,
            params=self.params,
            slots={name: getattr(self.optimizer, name) for name in self.optimizer.slots},
            state=self.state,
            history=np.array(self.history, dtype=np.float64).reshape(-1, len(HISTORY)),
            corpus_sha256=self.corpus.sha256,
            progress={
                "position": self.batches.position(),
                **{name: getattr(self, name) for name in PROGRESS},
            },
        )

    def restore(self, saved: Checkpoint) -> None:
        """Go to where a checkpoint of the same config and corpus stands. Raises CheckpointError."""
        try:
            for name, kind in PROGRESS.items():
                setattr(self, name, kind(saved.progress[name]))
            self.batches.seek({key: int(n) for key, n in saved.progress["position"].items()})
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError):
            raise CheckpointError(
                "the checkpoint does not tell where its training stands: it can be sampled and "
                "scored, but not continued"
            ) from None
        self.params.flat[:] = saved.params.flat
        for name, vector in saved.slots.items():
            getattr(self.optimizer, name)[:] = vector
        self.state = saved.state.copy()
        self.history = saved.history.tolist()


# The numbers of a run that a checkpoint keeps: attributes of Trainer.
PROGRESS: dict[str, Callable[[Any], float]] = {
    "step": int,
    "seconds": float,
    "smooth_loss": float,
    "smooth_chars": float,
    "recent_nats": float,
    "recent_chars": int,
    "recent_seconds": float,
    "validated_at": int,
    "sampled_at": int,
}


class Metrics:
    """The `.jsonl` beside a checkpoint: one JSON object a validation."""

    def __init__(self, checkpoint_path: str, step: int) -> None:
        """Keep the lines of an earlier run up to `step`; drop those that it had after."""
        self.path = Path(checkpoint_path).with_suffix(".jsonl")
        kept = []
        if step and self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    if json.loads(line)["step"] <= step:
                        kept.append(line + "\n")
        self._write("w", "".join(kept))

    def add(self, report: Report) -> None:
        """One more line."""
        self._write("a", json.dumps(report.as_dict()) + "\n")

    def _write(self, mode: str, text: str) -> None:
        try:
            with open(self.path, mode, encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be written: {error.strerror}") from None


def check_same_run(saved: Checkpoint, config: Config, corpus: Corpus) -> list[str]:
    """What may differ between a checkpoint and the config that continues it, and does.

    Raises CheckpointError that names every difference which would make it another run.
    """
    old, new = _flat(saved.config), _flat(config)
    changed = [key for key in new if old[key] != new[key]]
    said = [f"{key}: {old[key]} -> {new[key]}" for key in changed if key in CHANGEABLE]
    refused = [f"{key}: {old[key]} -> {new[key]}" for key in changed if key not in CHANGEABLE]
    if saved.corpus_sha256 != corpus.sha256:
        refused.append(f"corpus: sha256 {saved.corpus_sha256[:12]} -> {corpus.sha256[:12]}")
    if refused:
        raise CheckpointError(
            "the checkpoint belongs to another run, so it cannot be continued:\n"
            + "\n".join(refused)
            + "\nSet these back, or leave --resume out to start afresh"
        )
    return said


CHANGEABLE = {
    "corpus.path",
    "corpus.url",
    "train.steps",
    "train.epochs",
    "optimizer.learning_rate",
    "output.checkpoint",
    "output.validate_every",
    "output.sample_every",
}


def _flat(config: Config) -> dict[str, Any]:
    settings = config.as_dict()
    return {f"{part}.{key}": value for part in settings for key, value in settings[part].items()}
