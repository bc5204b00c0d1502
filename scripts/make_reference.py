"""Makes tests/nn/reference.npz: losses and gradients of PyTorch's own modules with given weights.

    pip install torch && python scripts/make_reference.py

PyTorch keeps weights as (out, in), orders the gates of an lstm i, f, g, o and those of a gru
r, z, n, and has two biases per layer; `to_ours` says how they correspond. One bias is set to zero,
which loses nothing: the two are only ever added, except in the gru's candidate, where charrnn has
none.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from pytorch_rnn import Network

V, H, T, B = 7, 5, 6, 3
TEXT = 1000  # characters scored in float32, from the zero state
GATES = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 1, 3, 2]}  # PyTorch's place of each of ours
TARGET = Path(__file__).resolve().parent.parent / "tests" / "nn" / "reference.npz"


def to_ours(cell: str, array: np.ndarray) -> np.ndarray:
    """A (G*H, in) matrix or a (G*H,) vector of PyTorch's, as (in, G*H) in our order of gates."""
    gates = np.split(array, len(GATES[cell]))
    return np.ascontiguousarray(np.concatenate([gates[g] for g in GATES[cell]]).T)


def collect(network: Network, cell: str, layers: int, gradient: bool) -> dict[str, np.ndarray]:
    """The parameters of a network, or their gradients, under our names."""

    def take(parameter: torch.Tensor) -> np.ndarray:
        tensor = parameter.grad if gradient else parameter
        assert tensor is not None
        return tensor.detach().numpy()

    arrays = {}
    for layer in range(layers):
        for ours, theirs in (("Wxh", "weight_ih"), ("Whh", "weight_hh"), ("bh", "bias_ih")):
            parameter = getattr(network.recurrent, f"{theirs}_l{layer}")
            arrays[f"layer{layer}.{ours}"] = to_ours(cell, take(parameter))
    arrays["Why"] = np.ascontiguousarray(take(network.output.weight).T)
    arrays["by"] = take(network.output.bias)
    return arrays


def main() -> None:
    """One entry for each cell, with one layer and with two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", default=TARGET, help="the file to write")
    target = Path(parser.parse_args().out)
    torch.manual_seed(0)
    frozen: dict[str, np.ndarray] = {}
    for cell in GATES:
        for layers in (1, 2):
            network = Network(cell, V, H, layers, torch.float64)
            for name, parameter in network.named_parameters():
                torch.nn.init.normal_(parameter, std=0.5)
                if "bias_hh" in name:
                    torch.nn.init.zeros_(parameter)
            ids, targets = torch.randint(0, V, (2, T, B))
            mask = (torch.arange(T).reshape(-1, 1) < T - torch.arange(B)).double()
            states = [torch.randn(layers, B, H, dtype=torch.float64, requires_grad=True)]
            if cell == "lstm":
                states.append(torch.randn_like(states[0], requires_grad=True))
            logits, last = network(ids, tuple(states) if cell == "lstm" else states[0])
            nll = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), reduction="none"
            )
            loss = (nll.reshape(T, B) * mask).sum() / B
            loss.backward()
            last = last if cell == "lstm" else (last,)
            entry = {
                "loss": loss.detach().numpy(),
                "ids": ids.numpy(),
                "targets": targets.numpy(),
                "mask": mask.numpy(),
                "state": np.stack([s.detach().numpy() for s in states], axis=1),
                "last": np.stack([s.detach().numpy() for s in last], axis=1),
                "dstate": np.stack([s.grad.numpy() for s in states], axis=1),
            }
            for kind, gradient in (("param", False), ("grad", True)):
                for name, array in collect(network, cell, layers, gradient).items():
                    entry[f"{kind}.{name}"] = array
            text = torch.randint(0, V, (TEXT, 1))
            with torch.no_grad():
                logits, _ = network.float()(text[:-1], None)
                nats = torch.nn.functional.cross_entropy(logits[:, 0], text[1:, 0], reduction="sum")
            entry |= {"text": text[:, 0].numpy(), "text_nats": nats.numpy()}
            frozen |= {f"{cell}{layers}.{key}": value for key, value in entry.items()}
    frozen |= optimizers()
    np.savez_compressed(target, **frozen)
    print(f"{target}: {target.stat().st_size:,} bytes, made by PyTorch {torch.__version__}")


STEPS, SIZE = 20, 30
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.1, initial_accumulator_value=1e-8, eps=0),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, alpha=0.95),
    "adam": lambda p: torch.optim.AdamW(p, 0.01, betas=(0.9, 0.99), weight_decay=0.1),
}


def optimizers() -> dict[str, np.ndarray]:
    """Where twenty steps with given gradients lead."""
    start = torch.randn(SIZE, dtype=torch.float64)
    gradients = torch.randn(STEPS, SIZE, dtype=torch.float64)
    frozen = {"optim.start": start.numpy(), "optim.gradients": gradients.numpy()}
    for name, make in OPTIMIZERS.items():
        parameter = start.clone().requires_grad_()
        optimizer = make([parameter])
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        frozen[f"optim.{name}"] = parameter.detach().numpy()
    return frozen


if __name__ == "__main__":
    main()
