"""The textbook loop: a character-level tanh RNN, one step and one one-hot vector at a time.

    python scripts/min_char_rnn.py data/dinos.txt    # prints a sample every 1,000 updates

Read this first: the package is a faster and more general version of this program. The program has
the structure and the names of Karpathy's min-char-rnn
(https://gist.github.com/karpathy/d4dee566867f8291f086, 2016), in float64. No operations are fused,
and no arrays are reused. Weights are (out, in) and states are columns, so code reads `W @ x`. The
tests compare the package with this program; the benchmark times both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

NAMES = ("Wxh", "Whh", "Why", "bh", "by")


def init(vocab_size, hidden_size, seed=0):
    """Return small random weights and zero biases as {name: array}; the biases are columns."""
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
    """Return the loss in nats summed over the window, {name: gradient} and the last hidden state.

    `inputs` and `targets` are lists of T integers: the characters of a window, and the character
    after each of them. `hprev` is the hidden state before the window, a column (H, 1). The
    gradients have a sixth key, "hprev": the gradient of the loss with respect to that state.
    """
    Wxh, Whh, Why = weights["Wxh"], weights["Whh"], weights["Why"]
    bh, by = weights["bh"], weights["by"]
    vocab_size = Why.shape[0]
    xs, hs, ys, ps = {}, {}, {}, {}  # by step t: one-hot input, hidden state, logits, probabilities
    hs[-1] = np.copy(hprev)
    loss = 0.0
    for t in range(len(inputs)):  # forward
        xs[t] = np.zeros((vocab_size, 1))
        xs[t][inputs[t]] = 1.0
        hs[t] = np.tanh(np.dot(Wxh, xs[t]) + np.dot(Whh, hs[t - 1]) + bh)
        ys[t] = np.dot(Why, hs[t]) + by
        ps[t] = np.exp(ys[t]) / np.sum(np.exp(ys[t]))
        loss += -np.log(ps[t][targets[t], 0])

    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby = np.zeros_like(bh), np.zeros_like(by)
    dhnext = np.zeros_like(hs[0])  # the gradient that flows back from step t + 1
    for t in reversed(range(len(inputs))):  # backward
        dy = np.copy(ps[t])
        dy[targets[t]] -= 1.0  # gradient of softmax and cross-entropy: probabilities minus one-hot
        dWhy += np.dot(dy, hs[t].T)
        dby += dy
        dh = np.dot(Why.T, dy) + dhnext
        dhraw = (1.0 - hs[t] * hs[t]) * dh  # through tanh, whose derivative is 1 - tanh^2
        dbh += dhraw
        dWxh += np.dot(dhraw, xs[t].T)
        dWhh += np.dot(dhraw, hs[t - 1].T)
        dhnext = np.dot(Whh.T, dhraw)
    grads = {"Wxh": dWxh, "Whh": dWhh, "Why": dWhy, "bh": dbh, "by": dby, "hprev": dhnext}
    return loss, grads, hs[len(inputs) - 1]


def sample(weights, h, first, n, rng):
    """Return n sampled character ids, starting from state h and the input id `first`."""
    x = np.zeros_like(weights["by"])
    x[first] = 1.0
    ids = []
    for _ in range(n):
        h = np.tanh(np.dot(weights["Wxh"], x) + np.dot(weights["Whh"], h) + weights["bh"])
        y = np.dot(weights["Why"], h) + weights["by"]
        p = np.exp(y) / np.sum(np.exp(y))
        ids.append(rng.choice(p.size, p=p.ravel()))
        x = np.zeros_like(x)
        x[ids[-1]] = 1.0
    return ids


class Trainer:
    """A training loop with carried state, clipping by value, Adagrad and a smoothed loss."""

    def __init__(self, ids, weights, seq_length=25, learning_rate=1e-1, clip=5.0):
        self.ids = [int(i) for i in ids]
        self.weights = {name: np.array(weights[name], dtype=np.float64) for name in NAMES}
        self.state_vectors = {name: np.zeros_like(self.weights[name]) for name in NAMES}
        self.seq_length = seq_length
        self.learning_rate = learning_rate
        self.clip = clip
        self.n = self.p = 0
        self.hprev = None
        vocab_size = self.weights["by"].shape[0]
        self.smooth_loss = -np.log(1.0 / vocab_size) * seq_length

    def step(self):
        """Make one update from the next window and return the window's loss in nats."""
        if self.p + self.seq_length + 1 >= len(self.ids) or self.n == 0:
            self.hprev = np.zeros((self.weights["bh"].shape[0], 1))
            self.p = 0
        inputs = self.ids[self.p : self.p + self.seq_length]
        targets = self.ids[self.p + 1 : self.p + self.seq_length + 1]
        loss, grads, self.hprev = loss_and_gradients(self.weights, inputs, targets, self.hprev)
        self.smooth_loss = self.smooth_loss * 0.999 + loss * 0.001
        for name in NAMES:
            dparam, mem = grads[name], self.state_vectors[name]
            np.clip(dparam, -self.clip, self.clip, out=dparam)
            mem += dparam * dparam
            self.weights[name] += -self.learning_rate * dparam / np.sqrt(mem + 1e-8)
        self.p += self.seq_length
        self.n += 1
        return loss


def main():
    """Train on a text; print the smoothed loss and a sample every thousand updates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="UTF-8 text to train on")
    parser.add_argument("--hidden", type=int, default=100, help="hidden units")
    parser.add_argument("--steps", type=int, default=10_000, help="updates")
    options = parser.parse_args()
    text = options.text.read_text(encoding="utf-8")
    chars = sorted(set(text))
    char_to_id = {char: i for i, char in enumerate(chars)}
    ids = [char_to_id[char] for char in text]
    trainer = Trainer(ids, init(len(chars), options.hidden))
    rng = np.random.default_rng(0)
    for n in range(1, options.steps + 1):
        trainer.step()
        if n % 1000 == 0 or n == options.steps:
            nats = trainer.smooth_loss / trainer.seq_length
            print(f"--- {n:,} updates, {nats:.3f} nats per character (smoothed)")
            sample_ids = sample(trainer.weights, trainer.hprev, ids[trainer.p], 200, rng)
            print("".join(chars[i] for i in sample_ids))


if __name__ == "__main__":
    main()
