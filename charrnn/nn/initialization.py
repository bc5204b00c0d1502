"""The initial weights of a network, by one of three rules; biases start at 0.

    karpathy     N(0, 0.01^2), as in min-char-rnn
    uniform      U(-1/sqrt(H), 1/sqrt(H)), as in PyTorch
    orthogonal   like uniform, but each gate of Whh is a random orthogonal matrix, which keeps the
                 length of the state (Saxe et al. 2014)

Each cell class has a default rule, and sets the biases that do not start at 0. Validation loss in
nats on tinyshakespeare after 600 updates, mean of three seeds, by scripts/compare_init.py, in the
order above: rnn 2.105, 2.040, 2.061; gru 2.089, 1.987, 1.930; lstm 2.221, 2.152, 2.129.
"""

from __future__ import annotations

import math

import numpy as np

from charrnn.arrays import Floats
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params


def initialize(model: Model, init: str | None, rng: np.random.Generator) -> Params:
    """Return the initial parameters of a network; `init` None is the default rule of the cell."""
    init = init or model.cell.default_init
    params = Params(model.shapes(), model.dtype)
    H = model.hidden
    for name, array in params.items():
        if array.ndim == 1:
            continue
        if init == "karpathy":
            array[:] = rng.normal(0.0, 0.01, array.shape)
        elif init == "orthogonal" and name.endswith("Whh"):
            for gate in range(model.cell.gates):
                array[:, gate * H : (gate + 1) * H] = _orthogonal(H, rng)
        else:
            bound = 1 / math.sqrt(H)
            array[:] = rng.uniform(-bound, bound, array.shape)
    for _, _, bh in model.parameter_names:
        model.cell.fill_biases(params[bh], H)
    return params


def _orthogonal(size: int, rng: np.random.Generator) -> Floats:
    """Return an orthogonal matrix (size, size), drawn uniformly."""
    q, r = np.linalg.qr(rng.normal(size=(size, size)))
    orthogonal: Floats = q * np.sign(np.diag(r))
    return orthogonal
