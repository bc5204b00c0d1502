"""A training run: the network, its optimizer, its position in the text and its running losses.

    loss, state = forward(window, state)
    gradient    = backward(window)
    clip, then one step of the optimizer

A `Trainer` holds all data that the next step depends on. A checkpoint saves and restores it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable

import numpy as np

from charrnn.arrays import Batch, Floats
from charrnn.checkpoint import HISTORY_COLUMNS, Checkpoint
from charrnn.config.loader import replace
from charrnn.config.schema import Config
from charrnn.data import batches
from charrnn.data.corpus import Corpus
from charrnn.errors import CheckpointError, DivergedError
from charrnn.evaluation.evaluator import Evaluator, Score
from charrnn.nn.initialization import initialize
from charrnn.nn.model import Model
from charrnn.nn.workspace import Workspaces
from charrnn.parallel.group import EXTRA_SUMS, ProcessGroup, SingleProcess, never_stop
from charrnn.rng import Purpose, bit_generator, generator
from charrnn.sampling.drawing import SamplingOptions
from charrnn.sampling.sampler import Sampler, StopConditions
from charrnn.training.optimizers import OPTIMIZERS, clip_by_norm, clip_by_value
from charrnn.training.schedules import Schedule, total_steps
from charrnn.training.state import LossPoint, SavedModel, TrainingState
from charrnn.training.warm_start import copy_weights

SAMPLE_CHARS = 200  # length of the samples during training
MAX_LOSS_RATIO = 30.0  # to the loss of guessing: a run with a higher training loss has diverged
POINTS = 200  # of the loss curve of a run, where the config does not say how often


class Trainer:
    """A run: its weights, its optimizer and its training state.

    Every process of a group has a `Trainer`, which works on the rows of its rank.
    """

    def __init__(self, config: Config, corpus: Corpus, group: ProcessGroup | None = None) -> None:
        """Draw initial weights by the config's seed. Raises CorpusError for too short a text."""
        seed = config.train.seed
        assert seed is not None
        self.group = group or SingleProcess()
        config = replace(config, "optimizer", learning_rate=config.learning_rate)
        self.config = config
        self.corpus = corpus
        self.seed = seed
        self.model = Model(config.model, len(corpus.vocab))
        self.batches = batches.make_batches(corpus, config.train, seed, self.model.dtype)
        self.params = initialize(self.model, config.model.init, generator(seed, Purpose.WEIGHTS))
        self.grads = self.params.zeros_like(EXTRA_SUMS)
        settings = config.optimizer
        self.clips_by_norm = settings.clip is not None and settings.clip_by == "norm"
        optimizer = OPTIMIZERS[settings.name]
        self.optimizer = optimizer(settings, self.params, self.model.hidden_weights)
        self.saved_model = SavedModel(config, corpus, self.model, self.params)
        self.eval_params = self.saved_model.eval_params
        self.evaluator = Evaluator(self.model, self.eval_params)
        self.state = self._zero_state(config.train.batch_size)  # (L, S, b, H), of this rank's rows
        self.stop_agreed = False  # whether any rank requested a stop at the last update
        self._workspaces = Workspaces(self.model)
        self.training_state = TrainingState()
        self.history: list[list[float]] = []
        self.guessing_nats = math.log(len(corpus.vocab))  # per character
        per_epoch = self.batches.per_epoch()
        self.steps = total_steps(config.train, per_epoch)
        self.log_every = config.output.log_every or max(1, self.steps // POINTS)
        self.schedule = Schedule(settings, self.steps, per_epoch)

    @property
    def step(self) -> int:
        """The number of updates so far."""
        return self.training_state.step

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or patience has run out."""
        patience = self.config.train.patience
        out_of_patience = patience is not None and self.training_state.waited >= patience
        return self.step >= self.steps or out_of_patience

    def initial_nats(self) -> float:
        """Return the loss of the next window, in nats per character, without an update."""
        batch = self.peek_batch()
        T, B = batch.ids.shape
        state = self._zero_state(B) if batch.from_zero else self.state
        b, nats = state.shape[2], 0.0
        if b > 0:
            shard, work = batch.rows(self.group.rows(B)), Workspaces(self.model).get(T, b)
            nats = b * self.model.forward(self.params, shard, state, work)[0]
        return float(sum(self.group.allgather(nats)) / batch.chars)

    def try_gradient(self, batch: Batch) -> None:
        """Compute the gradient of a window; neither the state nor the weights change."""
        state = self.state
        if batch.from_zero:
            self.state = self._zero_state(batch.ids.shape[1])
        self._compute_gradient(batch, 1.0)
        self.state = state

    def _zero_state(self, B: int) -> Floats:
        """Return the zero state (L, S, b, H) of this rank's b rows of B."""
        rows = self.group.rows(B)
        return self.model.zero_state(rows.stop - rows.start)

    def peek_batch(self) -> Batch:
        """Return the next window, without moving past it."""
        position = self.batches.position()
        batch = self.batches.next()
        self.batches.seek(position)
        return batch

    def update(self, stop_requested: Callable[[], bool] = never_stop) -> float:
        """Update the weights by one window, and return its loss in nats, summed over time.

        With several ranks, the allreduce also sums their stop requests, and `stop_agreed` is set.
        Raises DivergedError, before the weights change, when the run diverges.
        """
        config, training_state = self.config, self.training_state
        batch = self.batches.next()
        B = batch.ids.shape[1]
        if batch.from_zero:
            self.state = self._zero_state(B)
        chars = batch.chars
        loss = self._compute_gradient(batch, 1.0 if config.train.reduction == "sum" else B / chars)
        if self.group.size > 1:
            self.grads.vector[-EXTRA_SUMS:] = loss, stop_requested()
            self.group.allreduce(self.grads.vector)
            loss, stop_count = self.grads.vector[-EXTRA_SUMS:].tolist()
            self.stop_agreed = stop_count > 0
        training_state.record_loss(loss, chars, B)
        nats = training_state.train_nats
        if not nats <= MAX_LOSS_RATIO * max(self.guessing_nats, 1.0):  # nor is NaN
            loss_at = f"{nats:.4g} nats per character at step {self.step + 1:,}"
            raise self.divergence_error(f"the loss is {loss_at}")
        self._clip()
        rate = self.schedule.rate(training_state.step)
        training_state.step += 1
        self.optimizer.step(self.params.flat, self.grads.flat, rate, training_state.step)
        self.saved_model.update(training_state.step)
        return loss

    def must_stop(self, stop_requested: Callable[[], bool]) -> bool:
        """Return whether to stop now. Several ranks follow the result of the last update."""
        return stop_requested() if self.group.size == 1 else self.stop_agreed

    def _compute_gradient(self, batch: Batch, scale: float) -> float:
        """Set `grads` to this rank's part of the gradient of `scale` times the window's loss.

        Returns this rank's part of the loss. The b of B rows of a rank have the weight b / B.
        """
        T, B = batch.ids.shape
        rows, b = self.group.rows(B), self.state.shape[2]
        if b == 0:
            self.grads.flat.fill(0)
            return 0.0
        shard, work = batch.rows(rows), self._workspaces.get(T, b)
        if self.model.uses_dropout:
            source = bit_generator(self.seed, Purpose.DROPOUT, self.step)
            self.model.draw_dropout(work, source, rows.start)
        loss, self.state = self.model.forward(self.params, shard, self.state, work)
        if math.isfinite(loss):
            self.model.backward(self.params, shard, work, self.grads, scale * b / B)
        return float(loss * b / B)

    def _clip(self) -> None:
        """Clip the gradient in place, as the config says. Raises DivergedError if that fails."""
        gradient, clip, step = self.grads.flat, self.config.optimizer.clip, self.step + 1
        if clip is not None and self.clips_by_norm:
            norm = clip_by_norm(gradient, clip)
            if not math.isfinite(norm):
                raise self.divergence_error(f"the gradient's norm is {norm} at step {step:,}")
            self.training_state.recent_norms += norm
        elif clip is not None and math.isnan(clip_by_value(gradient, clip)):  # infinity is clipped
            raise self.divergence_error(f"the gradient is not a number at step {step:,}")

    def advice(self) -> str:
        """Return settings to try for a run that diverges or does not learn."""
        lower = f"--set optimizer.learning_rate={self.config.learning_rate / 10:g}"
        clip = ", or clip by norm: --set optimizer.clip_by=norm --set optimizer.clip=1"
        return f"Try a lower learning rate: {lower}{'' if self.clips_by_norm else clip}"

    def divergence_error(self, reason: str) -> Exception:
        """Return a DivergedError with the reason and with settings to try."""
        message = f"training diverged: {reason}. Earlier saves are kept"
        return self.group.error_for_all_ranks(DivergedError(message, self.advice()))

    def validate(self, stop_requested: Callable[[], bool] = never_stop) -> LossPoint:
        """Score the validation part, and return the point of the loss curve with its score.

        Raises StopRequested on all ranks when `stop_requested` becomes true on any of them, and
        DivergedError when the loss is not finite.
        """
        training_state, start = self.training_state, time.perf_counter()
        validation = self.evaluator.validation(self.corpus, self.group, stop_requested)
        training_state.seconds += time.perf_counter() - start
        nats = validation.nats if validation else math.nan
        if validation is not None and not math.isfinite(nats):
            raise self.divergence_error(
                f"the validation loss is {nats} at step {training_state.step:,}"
            )
        if validation is not None and training_state.record_validation(nats):
            self.saved_model.record_best()
        training_state.validated_at = self.step
        point = self.log(validation)  # with the rate of the last update
        self.schedule.record_validation(training_state.waited)
        return point

    def log(self, validation: Score | None = None) -> LossPoint:
        """Append a point to the history, and return it."""
        point = self.training_state.log(
            self.clips_by_norm,
            epoch=self.batches.epoch,
            validation=validation,
            learning_rate=self.schedule.rate(max(self.step - 1, 0)),
        )
        row = [point.step, point.seconds, point.train_nats, point.validation_nats]
        self.history.append(row)  # columns: HISTORY_COLUMNS
        return point

    def sample(self, stop_requested: Callable[[], bool] = never_stop) -> str | None:
        """Return a text sampled from the current model, or None when a stop is requested.

        The random numbers of the training do not change. Raises DivergedError for weights that
        are not finite.
        """
        self._check_finite(self.state)
        mode, starts = self.config.corpus.mode, self.saved_model.starts()
        sampler = Sampler(self.model, self.eval_params, self.corpus.vocab, mode, starts)
        chars = sampler.stream(
            self.seed, SamplingOptions(), StopConditions(SAMPLE_CHARS), number=self.step
        )
        text = "".join(itertools.takewhile(lambda char: not stop_requested(), chars))
        return None if stop_requested() else text

    def _check_finite(self, state: Floats) -> None:
        """Raise DivergedError when an array to save is not finite, or a weight is too large."""
        step = f"step {self.step:,}"
        for name, weights in (("weight", self.params), ("average of a weight", self.eval_params)):
            if weights.can_overflow():
                largest = f"{abs(weights.flat).max():.3g}"
                raise self.divergence_error(f"the largest {name} is {largest} at {step}")
        arrays = {f"optimizer's {name}": v for name, v in self.optimizer.state_vectors.items()}
        for name, array in {**arrays, "carried state": state}.items():
            if not np.isfinite(array).all():
                raise self.divergence_error(f"a number of the {name} is not finite at {step}")

    def snapshot(self) -> Checkpoint:
        """Return a checkpoint of all data that the next step depends on. All ranks call it.

        The weights and the optimizer's vectors are not copies: the next update changes them.
        Raises DivergedError when an array is not finite.
        """
        state = np.concatenate(self.group.allgather(self.state), axis=2)
        self.group.on_rank_zero(lambda: self._check_finite(state))
        best_is_last = self.training_state.best_step == self.step
        return Checkpoint(
            config=self.config,
            vocab=self.corpus.vocab,
            **self.saved_model.fields(best_is_last, with_starts=self.group.is_rank_zero),
            optimizer_state=self.optimizer.state_vectors,
            state=state,
            history=np.array(self.history, dtype=np.float64).reshape(-1, len(HISTORY_COLUMNS)),
            corpus_sha256=self.corpus.sha256,
            training_state={
                "finished": self.finished,
                **dataclasses.asdict(self.training_state),
                "position": self.batches.position(),
                "schedule": {"factor": self.schedule.factor},
            },
        )

    def warm_start(self, source: Checkpoint) -> None:
        """Start from the weights of another run, as far as its vocabulary goes.

        Raises CheckpointError when the weights do not fit into this network.
        """
        copy_weights(source, self.config.model, self.corpus.vocab, self.params)
        self.saved_model.reset_average()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the run from a checkpoint of the same config and corpus.

        Raises CheckpointError when its training state is not valid.
        """
        try:
            values, state = checkpoint.training_state, checkpoint.state
            self.training_state.restore(values)
            self.batches.seek({key: int(n) for key, n in values["position"].items()})
            self.schedule.restore(values["schedule"]["factor"])
            batch = self.peek_batch()
            if not batch.from_zero and batch.ids.shape[1] != state.shape[2]:
                raise ValueError("the state and the next batch differ in their number of rows")
            self.optimizer.restore(checkpoint.optimizer_state)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError):
            raise CheckpointError(
                "the checkpoint has no valid training state: it can be sampled and scored, but not "
                "continued"
            ) from None
        self.saved_model.restore(checkpoint)
        self.state = state[:, :, self.group.rows(state.shape[2])].copy()
        self.history = checkpoint.history.tolist()
