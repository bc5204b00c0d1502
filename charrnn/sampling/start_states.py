"""The states that a model of running text starts sampling from.

From the zero state, which training rarely starts from, the first characters of a text are poor. So
a checkpoint holds states after stretches of the training text, each up to the end of a paragraph
or a line; the seed of a text chooses one.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Ints, StartStates
from charrnn.data.vocabulary import Vocab
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace
from charrnn.rng import Purpose, generator

COUNT = 16
STRETCH_CHARS = 256  # read from the zero state before each start
SEARCH_CHARS = 4096  # in which the end of a paragraph is searched


def stretches(text: Ints, vocab: Vocab, seed: int) -> Ints:
    """Return stretches (T, K) of a text (N,), each up to an end of a paragraph or a line.

    A paragraph ends with an empty line. Where neither is near, the stretch ends anywhere.
    """
    T = min(STRETCH_CHARS, len(text))
    newline = vocab.chars.find("\n")
    stops = []
    for start in generator(seed, Purpose.STARTS).integers(T - 1, len(text), COUNT).tolist():
        is_newline = np.asarray(text[start : start + SEARCH_CHARS]) == newline
        ends = np.flatnonzero(is_newline)
        paragraph_ends = 1 + np.flatnonzero(is_newline[1:] & is_newline[:-1])
        offsets = paragraph_ends if len(paragraph_ends) else ends
        stops.append(start + 1 + int(offsets[0] if len(offsets) else 0))
    return np.stack([text[stop - T : stop] for stop in stops], axis=1).astype(np.intp)


def compute(model: Model, params: Params, ids: Ints) -> StartStates:
    """Return the states after all but the last character of each stretch (T, K)."""
    state = model.zero_state(ids.shape[1])
    if len(ids) > 1:  # a workspace of its own: one of the training has masks of dropout
        state = model.run(params, ids[:-1], state, Workspace(model, len(ids) - 1, ids.shape[1]))
    return StartStates(state, ids[-1])
