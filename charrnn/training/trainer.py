"""One update after another: the network, its optimiser, its place in the text, its figures.

    loss, state = forward(window, state)
    gradient    = backward(window)
    clip, then one step of the optimiser

A `Trainer` holds everything that the next step depends on, and can be saved and restored whole.
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
from charrnn.config.schema import Config
from charrnn.data import batches
from charrnn.data.corpus import Corpus
from charrnn.errors import CheckpointError, DivergedError
from charrnn.evaluation.evaluator import Evaluator
from charrnn.nn.initialization import initialize
from charrnn.nn.model import Model
from charrnn.nn.workspace import Workspaces
from charrnn.parallel.group import EXTRA_SUMS, ProcessGroup, SingleProcess, never_stop
from charrnn.rng import Purpose, bit_generator, generator
from charrnn.sampling.sampler import Sampler, SamplingOptions, StopConditions
from charrnn.training.optimizers import OPTIMIZERS, MovingAverage, clip_by_norm, clip_by_value
from charrnn.training.schedules import Schedule, total_steps
from charrnn.training.state import TrainingState, ValidationReport
from charrnn.training.warm_start import copy_weights

SAMPLE_CHARS = 200  # length of the samples shown while training
DIVERGED_RATIO = (
    3.0  # times the first loss, or that of guessing: after an epoch, a run going nowhere
)


class Trainer:
    """A run: what it has learnt, and where it stands.

    Of several processes each has one, with the rows of its rank.
    """

    def __init__(self, config: Config, corpus: Corpus, group: ProcessGroup | None = None) -> None:
        """Fresh weights from the config's seed. Raises CorpusError when the text is too short."""
        seed = config.train.seed
        assert seed is not None
        self.group = group or SingleProcess()
        self.config = config
        self.corpus = corpus
        self.seed = seed
        self.model = Model(config.model, len(corpus.vocab))
        self.batches = batches.make_batches(corpus, config.train, seed, self.model.dtype)
        self.params = initialize(self.model, config.model.init, generator(seed, Purpose.WEIGHTS))
        self.grads = self.params.zeros_like(EXTRA_SUMS)
        settings = config.optimizer
        size = self.params.flat.size
        self.clips_by_norm = settings.clip is not None and settings.clip_by == "norm"
        self.optimizer = OPTIMIZERS[settings.name](settings, size, self.model.dtype)
        # The weights that are validated, sampled and saved: the average, where there is one.
        ema_decay = settings.ema_decay
        self.eval_params = self.params if ema_decay is None else self.params.copy()
        self.average = (
            None if ema_decay is None else MovingAverage(ema_decay, self.eval_params.flat)
        )
        self.evaluator = Evaluator(self.model, self.eval_params)
        self.state = self._zero_state(config.train.batch_size)  # of the rows of this rank
        self.stop_agreed = False  # whether any rank wanted to stop at the last update
        self._workspaces = Workspaces(self.model)
        self.training_state = TrainingState()
        self.history: list[list[float]] = []
        self.guessing_nats = self.expected_nats = math.log(len(corpus.vocab))  # per character
        per_epoch = self.batches.per_epoch()
        self.steps = total_steps(config.train, per_epoch)
        self.schedule = Schedule(settings, self.steps, per_epoch)

    @property
    def step(self) -> int:
        """Updates made so far."""
        return self.training_state.step

    @property
    def finished(self) -> bool:
        """Whether all steps are made, or patience is at an end."""
        patience = self.config.train.patience
        out_of_patience = patience is not None and self.training_state.waited >= patience
        return self.step >= self.steps or out_of_patience

    def initial_nats(self) -> float:
        """Nats per character of the next window, before anything is learnt from it."""
        batch = self._peek_batch()
        T, B = batch.ids.shape
        state = self._zero_state(B) if batch.from_zero else self.state
        b, nats = state.shape[2], 0.0
        if b > 0:
            part, work = batch.rows(self.group.rows(B)), Workspaces(self.model).get(T, b)
            nats = b * self.model.forward(self.params, part, state, work)[0]
        return float(sum(self.group.allgather(nats)) / batch.chars)

    def _zero_state(self, B: int) -> Floats:
        """The state (L, S, b, H) at the start of a text of this rank's b rows of B."""
        rows = self.group.rows(B)
        return self.model.zero_state(rows.stop - rows.start)

    def _peek_batch(self) -> Batch:
        """The window that comes next."""
        position = self.batches.position()
        batch = self.batches.next()
        self.batches.seek(position)
        return batch

    def update(self, stop_requested: Callable[[], bool] = never_stop) -> float:
        """One window, one update. Returns the window's loss in nats, summed over time.

        Whether to stop is asked late, and what all ranks agree on is in `stop_agreed`. Raises
        DivergedError when the loss is not a finite number; the weights are then as they were.
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
            loss, stops = self.grads.vector[-EXTRA_SUMS:].tolist()
            self.stop_agreed = stops > 0
        self._record_loss(loss, chars, B)
        self._clip(self.grads.flat)
        rate = self.schedule.rate(training_state.step)
        training_state.step += 1
        self.optimizer.step(self.params.flat, self.grads.flat, rate, training_state.step)
        if self.average is not None:
            self.average.update(self.params.flat, training_state.step)
        return loss

    def must_stop(self, stop_requested: Callable[[], bool]) -> bool:
        """Return whether the run is to end here: of several ranks, what the last update agreed."""
        return stop_requested() if self.group.size == 1 else self.stop_agreed

    def _compute_gradient(self, batch: Batch, scale: float) -> float:
        """Let `grads` be this rank's part of the gradient of `scale` times the window's loss.

        Returns its part of the loss: loss and gradient of its b rows of B count b / B.
        """
        T, B = batch.ids.shape
        rows, b = self.group.rows(B), self.state.shape[2]
        if b == 0:
            self.grads.flat.fill(0)
            return 0.0
        part, work = batch.rows(rows), self._workspaces.get(T, b)
        if self.model.uses_dropout:
            source = bit_generator(self.seed, Purpose.DROPOUT, self.step)
            self.model.draw_dropout(work, source, rows.start)
        loss, self.state = self.model.forward(self.params, part, self.state, work)
        if math.isfinite(loss):
            self.model.backward(self.params, part, work, self.grads, scale * b / B)
        return float(loss * b / B)

    def _clip(self, gradient: Floats) -> None:
        """Clip as the config says. Raises DivergedError for what cannot be clipped."""
        clip, step = self.config.optimizer.clip, self.step + 1
        if clip is not None and self.clips_by_norm:
            norm = clip_by_norm(gradient, clip)
            if not math.isfinite(norm):
                raise self.divergence_error(f"the gradient's norm is {norm} at step {step:,}")
            self.training_state.recent_norms += norm
        elif clip is not None and math.isnan(clip_by_value(gradient, clip)):  # infinity is cut
            raise self.divergence_error(f"the gradient is not a number at step {step:,}")

    def _record_loss(self, loss: float, chars: int, B: int) -> None:
        """Add one window's loss to the running means. Raises DivergedError."""
        training_state, step = self.training_state, self.step + 1
        training_state.record_loss(loss, chars, B, self.expected_nats)
        if not math.isfinite(loss):
            raise self.divergence_error(f"the loss is {loss} at step {step:,}")
        # A warm start may begin low, and its windows may differ more than threefold.
        first, recent = training_state.first_nats, training_state.quick_nats
        if self.batches.epoch and recent > DIVERGED_RATIO * max(first, self.guessing_nats):
            raise self.divergence_error(
                f"at step {step:,} the loss is {recent:.3g} nats per character, and it began at "
                f"{first:.3g}"
            )

    def divergence_error(self, what: str) -> Exception:
        """The DivergedError that says so and what to try."""
        advice = f"--set optimizer.learning_rate={self.config.optimizer.learning_rate / 10:g}"
        if not self.clips_by_norm:
            advice += ", or clip by norm: --set optimizer.clip_by=norm --set optimizer.clip=1"
        return self.group.error_for_all_ranks(
            DivergedError(
                f"training diverged: {what}. The last checkpoint is kept",
                f"Try a lower learning rate: {advice}",
            )
        )

    def validate(self, stop_requested: Callable[[], bool] = never_stop) -> ValidationReport:
        """Score the validation part, and put the result into the history.

        Raises StopRequested on all ranks when any of them is asked to stop meanwhile.
        """
        training_state, begun = self.training_state, time.perf_counter()
        validation = self.evaluator.validation(self.corpus, self.group, stop_requested)
        training_state.seconds += time.perf_counter() - begun
        nats = validation.nats if validation else math.nan
        if validation is not None and not math.isfinite(nats):
            raise self.divergence_error(
                f"the validation loss is {nats} at step {training_state.step:,}"
            )
        best = validation is not None and training_state.record_validation(nats)
        self.schedule.record_validation(training_state.waited)
        report = training_state.report(
            self.clips_by_norm,
            steps=self.steps,
            epoch=self.batches.epoch,
            validation=validation,
            learning_rate=self.schedule.rate(max(training_state.step - 1, 0)),
            best=best,
        )
        self.history.append(
            [
                training_state.step,
                training_state.seconds,
                report.smooth_nats,
                report.train_nats,
                nats,
            ]
        )
        return report

    def sample(self, stop_requested: Callable[[], bool] = never_stop) -> str | None:
        """A text from the model as it is now, or None when asked to stop meanwhile.

        The run's own random numbers are not touched.
        """
        self._check_finite(self.state)
        sampler = Sampler(self.model, self.eval_params, self.corpus.vocab, self.config.corpus.mode)
        chars = sampler.stream(
            self.seed, SamplingOptions(), StopConditions(SAMPLE_CHARS), number=self.step
        )
        text = "".join(itertools.takewhile(lambda char: not stop_requested(), chars))
        return None if stop_requested() else text

    def _check_finite(self, state: Floats) -> None:
        """Raise DivergedError when anything that would be saved is NaN, or too large to use."""
        at = f"at step {self.step:,}"
        for what, weights in (("weight", self.params), ("average of a weight", self.eval_params)):
            if weights.can_overflow():
                raise self.divergence_error(
                    f"the largest {what} is {abs(weights.flat).max():.3g} {at}"
                )
        arrays = {
            f"optimiser's {slot}": vector for slot, vector in self.optimizer.state_vectors.items()
        }
        for what, array in {**arrays, "carried state": state}.items():
            if not np.isfinite(array).all():
                raise self.divergence_error(f"a number of the {what} is not finite {at}")

    def snapshot(self) -> Checkpoint:
        """Everything that the next step depends on. All ranks take it together.

        The weights and the optimiser's vectors are the run's own, not copies. Raises DivergedError
        rather than return NaN.
        """
        state = np.concatenate(self.group.allgather(self.state), axis=2)
        self.group.on_rank_zero(lambda: self._check_finite(state))
        return Checkpoint(
            config=self.config,
            vocab=self.corpus.vocab,
            params=self.eval_params,
            optimizer_state=self.optimizer.state_vectors,
            state=state,
            history=np.array(self.history, dtype=np.float64).reshape(-1, len(HISTORY_COLUMNS)),
            corpus_sha256=self.corpus.sha256,
            training_weights=None if self.average is None else self.params.flat,
            training_state={
                **dataclasses.asdict(self.training_state),
                "position": self.batches.position(),
                "schedule": {"factor": self.schedule.factor},
            },
        )

    def warm_start(self, source: Checkpoint) -> None:
        """Begin with the weights of another run, as far as its characters go.

        Raises CheckpointError when its weights do not fit into this network.
        """
        copy_weights(source, self.config.model, self.corpus.vocab, self.params)
        self.eval_params.flat[:] = self.params.flat

    def restore(self, saved: Checkpoint) -> None:
        """Go to where a checkpoint of the same config and corpus stands. Raises CheckpointError."""
        try:
            self.training_state.restore(saved.training_state)
            self.batches.seek({key: int(n) for key, n in saved.training_state["position"].items()})
            self.schedule.restore(saved.training_state["schedule"]["factor"])
            batch = self._peek_batch()
            if not batch.from_zero and batch.ids.shape[1] != saved.state.shape[2]:
                raise ValueError("the state has other rows than the batch that continues it")
            self.optimizer.restore(saved.optimizer_state)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError):
            raise CheckpointError(
                "the checkpoint does not tell where its training stands: it can be sampled and "
                "scored, but not continued"
            ) from None
        self.eval_params.flat[:] = saved.params.flat
        if saved.training_weights is not None:
            self.params.flat[:] = saved.training_weights
        self.state = saved.state[:, :, self.group.rows(saved.state.shape[2])].copy()
        self.history = saved.history.tolist()
