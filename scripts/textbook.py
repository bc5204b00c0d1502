"""The textbook loop: a character-level tanh RNN, one step and one one-hot vector at a time.

This is the yardstick, not the product. It follows the plan of Karpathy's min-char-rnn
(https://gist.github.com/karpathy/d4dee566867f8291f086, 2016) in his letters and in float64, with
nothing fused, nothing reused and weights that stand as (out, in). The tests compare every fused
line of the package with it, and the benchmark measures against it.
"""

from __future__ import annotations

import numpy as np

NAMES = ("Wxh", "Whh", "Why", "bh", "by")


def init(vocab_size, hidden_size, seed=0):
    """Small random weights, zero biases, as {name: array}; the biases are columns."""
    rng = np.random.default_rng(seed)
    H, V = hidden_size, vocab_size
    return {
        "Wxh": rng.normal(0.0, 0.01, (H, V)),
        "Whh": rng.normal(0.0, 0.01, (H, H)),
        "Why": rng.normal(0.0, 0.01, (V, H)),
        "bh": np.zeros((H, 1)),
        "by": np.zeros((V, 1)),
    }


def loss_and_gradients(weights, inputs, targets, hprev):
    """Loss in nats summed over the window, {name: gradient}, and the last hidden state.

    `inputs` and `targets` are lists of integers, `hprev` is a column (H, 1). The sixth key of the
    gradients, "hprev", is the gradient of the loss at the state that was carried in.
    """
    Wxh, Whh, Why = weights["Wxh"], weights["Whh"], weights["Why"]
    bh, by = weights["bh"], weights["by"]
    vocab_size = Why.shape[0]
    xs, hs, ys, ps = {}, {}, {}, {}
    hs[-1] = np.copy(hprev)
    loss = 0.0
    for t in range(len(inputs)):
        xs[t] = np.zeros((vocab_size, 1))
        xs[t][inputs[t]] = 1.0
        hs[t] = np.tanh(np.dot(Wxh, xs[t]) + np.dot(Whh, hs[t - 1]) + bh)
        ys[t] = np.dot(Why, hs[t]) + by
        ps[t] = np.exp(ys[t]) / np.sum(np.exp(ys[t]))
        loss += -np.log(ps[t][targets[t], 0])

    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby = np.zeros_like(bh), np.zeros_like(by)
    dhnext = np.zeros_like(hs[0])
    for t in reversed(range(len(inputs))):
        dy = np.copy(ps[t])
        dy[targets[t]] -= 1.0
        dWhy += np.dot(dy, hs[t].T)
        dby += dy
        dh = np.dot(Why.T, dy) + dhnext
        dhraw = (1.0 - hs[t] * hs[t]) * dh
        dbh += dhraw
        dWxh += np.dot(dhraw, xs[t].T)
        dWhh += np.dot(dhraw, hs[t - 1].T)
        dhnext = np.dot(Whh.T, dhraw)
    grads = {"Wxh": dWxh, "Whh": dWhh, "Why": dWhy, "bh": dbh, "by": dby, "hprev": dhnext}
    return loss, grads, hs[len(inputs) - 1]


class Trainer:
    """The training loop around it: carried state, clipping by value, Adagrad, smoothed loss."""

    def __init__(self, ids, weights, seq_length=25, learning_rate=1e-1, clip=5.0):
        self.ids = [int(i) for i in ids]
        self.weights = {name: np.array(weights[name], dtype=np.float64) for name in NAMES}
        self.memory = {name: np.zeros_like(self.weights[name]) for name in NAMES}
        self.seq_length = seq_length
        self.learning_rate = learning_rate
        self.clip = clip
        self.n = self.p = 0
        self.hprev = None
        vocab_size = self.weights["by"].shape[0]
        self.smooth_loss = -np.log(1.0 / vocab_size) * seq_length

    def step(self):
        """One window, one update; returns the window's loss in nats."""
        if self.p + self.seq_length + 1 >= len(self.ids) or self.n == 0:
            self.hprev = np.zeros((self.weights["bh"].shape[0], 1))
            self.p = 0
        inputs = self.ids[self.p : self.p + self.seq_length]
        targets = self.ids[self.p + 1 : self.p + self.seq_length + 1]
        loss, grads, self.hprev = loss_and_gradients(self.weights, inputs, targets, self.hprev)
        self.smooth_loss = self.smooth_loss * 0.999 + loss * 0.001
        for name in NAMES:
            dparam, mem = grads[name], self.memory[name]
            np.clip(dparam, -self.clip, self.clip, out=dparam)
            mem += dparam * dparam
            self.weights[name] += -self.learning_rate * dparam / np.sqrt(mem + 1e-8)
        self.p += self.seq_length
        self.n += 1
        return loss
