"""The networks of charrnn built from PyTorch's modules: a reference for tests and benchmarks.

Needs torch (`pip install torch`), as does make_reference.py; nothing else in this project does.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

MODULES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Network(nn.Module):
    """A network of one-hot inputs, a recurrent module, and a linear layer to the logits.

    With `reads_all` the linear layer reads the hidden states of every layer, the lowest first.
    """

    def __init__(self, cell, vocab_size, hidden, layers, dtype=torch.float32, reads_all=False):
        super().__init__()
        self.vocab_size = vocab_size
        self.recurrent = MODULES[cell](vocab_size, hidden, layers, dtype=dtype)
        # modules without the upper layers, which compute with the weights of `recurrent`
        self.lower = [MODULES[cell](vocab_size, hidden, n) for n in range(1, layers) if reads_all]
        self.output = nn.Linear(hidden * (1 + len(self.lower)), vocab_size, dtype=dtype)

    def forward(self, ids, state):
        """Return the logits (T, B, V) of `ids` (T, B), and the new state."""
        inputs = nn.functional.one_hot(ids, self.vocab_size).to(self.output.weight.dtype)
        hs, new_state = self.recurrent(inputs, state)
        lower_hs = [self.run_lower(module, inputs, state)[0] for module in self.lower]
        return self.output(torch.cat([*lower_hs, hs], dim=2)), new_state

    def run_lower(self, module, inputs, state):
        """Return what the lower layers of `recurrent`, as many as `module` has, return."""
        weights = {name: getattr(self.recurrent, name) for name in module.state_dict()}
        layers = module.num_layers
        if isinstance(state, tuple):
            state = tuple(s[:layers] for s in state)
        elif state is not None:
            state = state[:layers]
        return torch.func.functional_call(module, weights, (inputs, state))


@torch.no_grad()
def sample(network, count):
    """Sample `count` characters, each fed back as the next input."""
    ids, state = torch.zeros(1, 1, dtype=torch.long), None
    for _ in range(count):
        logits, state = network(ids, state)
        ids = torch.multinomial(torch.softmax(logits[0], 1), 1)


@torch.no_grad()
def score(network, ids):
    """Return the total nats of a text, fed one character at a time with carried state."""
    total, state = 0.0, None
    for char_id, next_id in itertools.pairwise(ids):
        logits, state = network(torch.tensor([[char_id]]), state)
        total -= torch.log_softmax(logits[0, 0], 0)[next_id].item()
    return total


class Trainer:
    """A training loop on one window of random ids: clipping by value, Adagrad, carried state."""

    def __init__(self, cell, vocab_size, hidden, layers, T, B, learning_rate=0.1, clip=5.0):
        self.network = Network(cell, vocab_size, hidden, layers)
        self.optimizer = torch.optim.Adagrad(self.network.parameters(), learning_rate)
        self.clip = clip
        self.state = None
        ids = np.random.default_rng(0).integers(0, vocab_size, (T + 1, B))
        self.ids, self.targets = torch.from_numpy(ids[:-1]), torch.from_numpy(ids[1:])

    def step(self):
        """Make one update and return the loss of the window in nats, summed over time and rows."""
        self.optimizer.zero_grad(set_to_none=True)
        logits, state = self.network(self.ids, self.state)
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), self.targets.flatten(), reduction="sum"
        )
        (loss / self.ids.shape[1]).backward()
        nn.utils.clip_grad_value_(self.network.parameters(), self.clip)
        self.optimizer.step()
        is_lstm = isinstance(state, tuple)  # (h, c)
        self.state = tuple(s.detach() for s in state) if is_lstm else state.detach()
        return loss.item()
