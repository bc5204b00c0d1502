"""The names that makemore trains on and the 1,000 it tests on, as two files beside the list.

    python scripts/makemore_split.py data/names.txt     # data/names.train.txt, data/names.test.txt
    charrnn train configs/names.yaml --corpus data/names.train.txt --set corpus.sha256=null
    charrnn eval runs/names.npz data/names.test.txt

makemore shuffles the lines by PyTorch's generator with the seed 3407 and keeps the last thousand
for its test. That generator is a Mersenne twister, as is NumPy's older one, and what PyTorch makes
of its numbers is a shuffle by Fisher and Yates; so PyTorch is not needed here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from charrnn.config import loader
from charrnn.data import download
from charrnn.errors import CharrnnError

RECIPE = Path(__file__).resolve().parent.parent / "configs" / "names.yaml"
SEED, TEST = 3407, 1000


def permutation(count: int, seed: int) -> list[int]:
    """The numbers below `count`, in the order of `torch.manual_seed(seed); torch.randperm(count)`.

    As PyTorch 2 does it on a CPU, for fewer than 2^32 numbers.
    """
    draws = np.random.RandomState(seed).randint(0, 1 << 32, count, dtype=np.uint32).tolist()
    order = list(range(count))
    for place in range(count - 1):
        other = place + draws[place] % (count - place)
        order[place], order[other] = order[other], order[place]
    return order


def fetch(path: Path) -> None:
    """Get the list from where the recipe for names gets it, if that is what `path` means."""
    corpus = loader.load(str(RECIPE)).corpus
    if str(path.resolve()) not in corpus.path:
        raise SystemExit(f"{path}: no such file")
    try:
        download.fetch_missing(corpus)
    except CharrnnError as error:
        raise SystemExit(error.with_hint) from None


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", type=Path)
    path = parser.parse_args().names
    if not path.exists():
        fetch(path)
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    names = [line for line in lines if line]
    order = permutation(len(names), SEED)
    for part, which in (("train", order[:-TEST]), ("test", order[-TEST:])):
        written = path.with_suffix(f".{part}.txt")
        written.write_text("".join(f"{names[n]}\n" for n in which), encoding="utf-8")
        print(written)


if __name__ == "__main__":
    main()
