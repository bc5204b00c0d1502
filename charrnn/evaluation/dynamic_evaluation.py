"""Dynamic evaluation: the weights follow the text while it is scored (Krause et al. 2018).

After each window of the text is scored, its gradient changes the weights that score the next:

    g  = d (mean nats per character of the window) / d p
    p -= rate g
    p += DECAY (p0 - p)            back towards the trained weights p0

The weights that score a window have learnt only from the text before it. Names and words that the
text repeats become likelier, so the gain measures how much a model can learn from the text itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from charrnn.arrays import Batch, Floats, Ints
from charrnn.errors import DivergedError
from charrnn.evaluation.evaluator import SURPRISAL, Evaluator, Readout
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params, blocks

# Nats per character of 40,000 characters of Shakespeare, for a gru of 256 units: static 1.358; in
# windows of 20 at rates of 0.03, 0.06, 0.1 and 0.16, 1.317, 1.309, 1.309 and 1.319; in windows of
# 40 at 0.06, 0.1, 0.16 and 0.25, 1.315, 1.309, 1.308 and 1.315. An lstm of 128 units gains up to a
# rate of 0.3, where an rnn diverges.
WINDOW = 20  # characters between two updates of the weights; no window spans two lines
RATE = 0.06
DECAY = 0.001
MAX_NATS = 100.0  # per character of a window; weights with a larger loss have diverged


class DynamicEvaluator(Evaluator):
    """Scores text with a copy of the weights that learns from it; the original does not change.

    Lines are scored one by one, in their order.
    """

    window = WINDOW

    def __init__(self, model: Model, params: Params, rate: float = RATE) -> None:
        """Copy `params`. `rate` scales the gradient of the nats per character."""
        super().__init__(model, params.copy())
        self.rate = rate
        self._static = params
        self._grads = params.zeros_like()

    def _batches(self, lengths: Ints) -> Iterator[Ints]:
        """Yield the index (1,) of each record."""
        yield from np.arange(len(lengths)).reshape(-1, 1)

    def _window(
        self, batch: Batch, state: Floats, readout: Readout = SURPRISAL
    ) -> tuple[Floats, Floats]:
        """Score one window, then update the weights. Raises DivergedError."""
        with np.errstate(over="ignore", invalid="ignore"):  # the next check catches both
            values, state = super()._window(batch, state, readout)
            if not values[0].mean() < MAX_NATS:  # or NaN
                raise DivergedError(
                    f"the weights diverged during dynamic evaluation at a rate of {self.rate:g}",
                    f"Try a smaller one, such as --dynamic-rate {self.rate / 10:g}",
                )
            self._adapt(batch)
        return values, state

    def _adapt(self, batch: Batch) -> None:
        """Take a step down the gradient of the window just scored, and one towards `_static`."""
        work = self._workspaces.get(*batch.ids.shape)
        self.model.backward(self.params, batch, work, self._grads, 1 / batch.chars)
        for p, g, p0 in blocks(self.params.flat, self._grads.flat, self._static.flat):
            g *= self.rate
            p -= g
            p += DECAY * (p0 - p)


def windows(pieces: Iterable[str], size: int = WINDOW) -> Iterator[str]:
    """Yield the same text in pieces of `size` characters.

    The first piece has one character more, which is not scored; the last may be shorter.
    """
    chars = itertools.chain.from_iterable(pieces)
    yield "".join(itertools.islice(chars, size + 1))
    while window := "".join(itertools.islice(chars, size)):
        yield window
