"""Compare the first characters of sampled texts with those of held-out paragraphs: a Markdown row.

    python scripts/first_words.py runs/tinyshakespeare.npz

The model samples 300 texts, from the states of its checkpoint and from the zero state. The cost of
their first five characters, in bits per character under the model that continues from that state,
is divided by the cost of the first five characters after an empty line (a newline, where there are
no empty lines) in the held-out part, read with carried state.
"""

from __future__ import annotations

import argparse

import numpy as np

from charrnn import api
from charrnn.evaluation.evaluator import Evaluator
from charrnn.find_corpus import reload_corpus

FIRST = 5  # characters


def held_out_bits(model: api.TextModel) -> float:
    """Return the bits per character of the first characters after a boundary of held-out text."""
    corpus = reload_corpus(model.checkpoint)
    ids = np.asarray(corpus.validation)
    evaluator = Evaluator(model.model, model.params)
    nats, _ = evaluator.score_sequence(ids, model.model.zero_state(1))
    newline = ids == corpus.vocab.chars.index("\n")
    after_empty = 1 + np.flatnonzero(newline[1:] & newline[:-1])
    ends = after_empty if len(after_empty) else np.flatnonzero(newline)
    ends = ends[ends + FIRST < len(ids)]
    starts = ends[~newline[ends + 1]]  # nats[i] is the cost of ids[i + 1]
    return float(nats[0][starts.reshape(-1, 1) + np.arange(FIRST)].mean() / np.log(2))


def sampled_bits(model: api.TextModel, count: int, from_zero: bool) -> float:
    """Return the bits per character of the first characters of `count` sampled texts."""
    texts = model.texts(count, chars=FIRST, seed=1, from_zero=from_zero)
    return float(np.mean([text.bits_per_char for text in texts]))


def main() -> None:
    """Print a row for each checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", help="of models of running text")
    parser.add_argument("--count", type=int, default=300, help="texts to sample")
    options = parser.parse_args()
    print("| model | held out | sampled | ratio | from the zero state |\n|---|---|---|---|---|")
    for path in options.checkpoints:
        model = api.load(path)
        held_out = held_out_bits(model)
        sampled, zero = (sampled_bits(model, options.count, flag) for flag in (False, True))
        print(
            f"| {path} | {held_out:.3f} | {sampled:.3f} | {sampled / held_out:.3f} | {zero:.3f} |"
        )


if __name__ == "__main__":
    main()
