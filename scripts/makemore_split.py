"""Split a list of names as makemore does: a training file, and a test file of 1,000 names.

    python scripts/makemore_split.py data/names.txt     # data/names.train.txt, data/names.test.txt
    charrnn train configs/names.yaml --corpus data/names.train.txt --set corpus.sha256=null
    charrnn eval runs/names.npz data/names.test.txt

The two files are written next to the list. makemore shuffles the lines with PyTorch's generator and
the seed 3407, and tests on the last thousand. That generator is a Mersenne twister, as is NumPy's
legacy one, and PyTorch's shuffle is the Fisher-Yates algorithm; so PyTorch is not needed here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from charrnn.config import loader
from charrnn.data import download
from charrnn.errors import CharrnnError

NAMES_CONFIG = Path(__file__).resolve().parent.parent / "configs" / "names.yaml"
SEED, TEST_NAMES = 3407, 1000


def permutation(count: int, seed: int) -> list[int]:
    """Return the list that `torch.manual_seed(seed); torch.randperm(count)` gives.

    The result is that of PyTorch 2 on a CPU, for counts below 2^32.
    """
    draws = np.random.RandomState(seed).randint(0, 1 << 32, count, dtype=np.uint32).tolist()
    order = list(range(count))
    for i in range(count - 1):
        j = i + draws[i] % (count - i)
        order[i], order[j] = order[j], order[i]
    return order


def fetch(path: Path) -> None:
    """Download the corpus of configs/names.yaml, if `path` is its path.

    Raises SystemExit when it is another path, or when the download fails.
    """
    corpus = loader.load(str(NAMES_CONFIG)).corpus
    if str(path.resolve()) not in corpus.path:
        raise SystemExit(f"{path}: no such file")
    try:
        download.fetch_missing(corpus)
    except CharrnnError as error:
        raise SystemExit(error.with_hint) from None


def main() -> None:
    """Write both files and print their paths."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", type=Path, help="the list, one name per line")
    path = parser.parse_args().names
    if not path.exists():
        fetch(path)
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    names = [line for line in lines if line]
    order = permutation(len(names), SEED)
    for part, line_ids in (("train", order[:-TEST_NAMES]), ("test", order[-TEST_NAMES:])):
        output_path = path.with_suffix(f".{part}.txt")
        output_path.write_text("".join(f"{names[i]}\n" for i in line_ids), encoding="utf-8")
        print(output_path)


if __name__ == "__main__":
    main()
