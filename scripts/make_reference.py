"""Write tests/nn/reference.npz: losses and gradients of PyTorch's modules with given weights.

    pip install torch && python scripts/make_reference.py

PyTorch stores weights as (out, in), orders the gates of an lstm as i, f, g, o and those of a gru as
r, z, n, and has two biases per layer. `to_charrnn_layout` converts its arrays. The recurrent bias
is set to zero: charrnn has one bias per layer, to which PyTorch's two add up, except in the gru's
candidate, where charrnn has no recurrent bias.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from pytorch_rnn import Network

V, H, T, B = 7, 5, 6, 3
TEXT_CHARS = 1000  # scored in float32, from the zero state
GATE_ORDER = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 1, 3, 2]}  # PyTorch's index by our index
REFERENCE_PATH = Path(__file__).resolve().parent.parent / "tests" / "nn" / "reference.npz"


def to_charrnn_layout(cell: str, array: np.ndarray) -> np.ndarray:
    """Return PyTorch's (G*H, in) matrix as (in, G*H), or its (G*H,) vector, in charrnn's order."""
    gates = np.split(array, len(GATE_ORDER[cell]))
    return np.ascontiguousarray(np.concatenate([gates[g] for g in GATE_ORDER[cell]]).T)


def named_arrays(network: Network, cell: str, layers: int, gradient: bool) -> dict[str, np.ndarray]:
    """Return the parameters of a network, or their gradients, under charrnn's names."""

    def to_numpy(parameter: torch.Tensor) -> np.ndarray:
        tensor = parameter.grad if gradient else parameter
        assert tensor is not None
        return tensor.detach().numpy()

    arrays = {}
    for layer in range(layers):
        for name, torch_name in (("Wxh", "weight_ih"), ("Whh", "weight_hh"), ("bh", "bias_ih")):
            parameter = getattr(network.recurrent, f"{torch_name}_l{layer}")
            arrays[f"layer{layer}.{name}"] = to_charrnn_layout(cell, to_numpy(parameter))
    arrays["Why"] = np.ascontiguousarray(to_numpy(network.output.weight).T)
    arrays["by"] = to_numpy(network.output.bias)
    return arrays


def main() -> None:
    """Write the arrays of each cell with one layer and with two, and those of the optimizers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", default=REFERENCE_PATH, help="the file to write")
    path = Path(parser.parse_args().out)
    torch.manual_seed(0)
    reference: dict[str, np.ndarray] = {}
    for outputs, layer_counts in (("", (1, 2)), ("all", (2,))):
        for cell, layers in itertools.product(GATE_ORDER, layer_counts):
            network = Network(cell, V, H, layers, torch.float64, reads_all=outputs == "all")
            for name, parameter in network.named_parameters():
                torch.nn.init.normal_(parameter, std=0.5)
                if "bias_hh" in name:
                    torch.nn.init.zeros_(parameter)
            ids, targets = torch.randint(0, V, (2, T, B))
            mask = (torch.arange(T).reshape(-1, 1) < T - torch.arange(B)).double()
            states = [torch.randn(layers, B, H, dtype=torch.float64, requires_grad=True)]
            if cell == "lstm":
                states.append(torch.randn_like(states[0], requires_grad=True))
            logits, last_states = network(ids, tuple(states) if cell == "lstm" else states[0])
            nll = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), reduction="none"
            )
            loss = (nll.reshape(T, B) * mask).sum() / B
            loss.backward()
            last_states = last_states if cell == "lstm" else (last_states,)
            arrays = {
                "loss": loss.detach().numpy(),
                "ids": ids.numpy(),
                "targets": targets.numpy(),
                "mask": mask.numpy(),
                "state": np.stack([s.detach().numpy() for s in states], axis=1),
                "last": np.stack([s.detach().numpy() for s in last_states], axis=1),
                "dstate": np.stack([s.grad.numpy() for s in states], axis=1),
            }
            for kind, gradient in (("param", False), ("grad", True)):
                for name, array in named_arrays(network, cell, layers, gradient).items():
                    arrays[f"{kind}.{name}"] = array
            text = torch.randint(0, V, (TEXT_CHARS, 1))
            with torch.no_grad():
                logits, _ = network.float()(text[:-1], None)
                nats = torch.nn.functional.cross_entropy(logits[:, 0], text[1:, 0], reduction="sum")
            arrays |= {"text": text[:, 0].numpy(), "text_nats": nats.numpy()}
            reference |= {f"{cell}{layers}{outputs}.{key}": array for key, array in arrays.items()}
        if not outputs:
            reference |= optimizer_arrays()
    np.savez_compressed(path, **reference)
    print(f"{path}: {path.stat().st_size:,} bytes, computed with PyTorch {torch.__version__}")


OPTIMIZER_STEPS, PARAMETER_COUNT = 20, 30
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.1, initial_accumulator_value=1e-8, eps=0),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, alpha=0.95),
    "adam": lambda p: torch.optim.AdamW(p, 0.01, betas=(0.9, 0.99), weight_decay=0.1),
}


def optimizer_arrays() -> dict[str, np.ndarray]:
    """Return initial parameters, 20 gradients, and the parameters after each optimizer's 20 steps.

    The shapes are (30,), (20, 30) and (30,).
    """
    start = torch.randn(PARAMETER_COUNT, dtype=torch.float64)
    gradients = torch.randn(OPTIMIZER_STEPS, PARAMETER_COUNT, dtype=torch.float64)
    arrays = {"optim.start": start.numpy(), "optim.gradients": gradients.numpy()}
    for name, make_optimizer in OPTIMIZERS.items():
        parameter = start.clone().requires_grad_()
        optimizer = make_optimizer([parameter])
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        arrays[f"optim.{name}"] = parameter.detach().numpy()
    return arrays


if __name__ == "__main__":
    main()
