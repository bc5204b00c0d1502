"""Runs that start from the weights of another one, on a text with the same or new characters."""

import re
from pathlib import Path

import numpy as np
import pytest

from charrnn import checkpoint
from charrnn.checkpoint import Checkpoint
from charrnn.config import loader as configs
from charrnn.data import corpus
from charrnn.data.characters import list_characters
from charrnn.errors import CheckpointError
from charrnn.evaluation.evaluator import Evaluator
from charrnn.nn.cells import CELLS
from charrnn.nn.workspace import Workspace
from charrnn.training.trainer import Trainer

OLD = "bdf\nfdb\nbbd\nffd\nddb\nbdd\nfff\n"  # newline b d f
NEW = "abc\ndef\ngab\ncde\nfga\nbcd\nefg\n"  # newline a b c d e f g
OLD_IDS = [0, 2, 4, 6]  # the ids of the old characters in the new vocabulary


@pytest.fixture
def old(charrnn, config):
    """Return a function that trains a small model on `OLD` and returns its checkpoint's path."""

    def train(**sections):
        result = charrnn("train", config(OLD, name="old", **sections), "-q")
        assert result.exit_code == 0, result.stderr
        return result.stdout.strip()

    return train


def trainer_of(path, source: Checkpoint, *settings) -> Trainer:
    """Return a trainer for a config and its corpus, with a warm start from `source`."""
    config = configs.load(str(path), settings)
    run = Trainer(
        config, corpus.read_corpus(config.corpus, config.train.seed, source.vocab, extend=True)
    )
    run.warm_start(source)
    run.expected_nats = run.initial_nats()  # as `session.run` does
    return run


def logits(model, params, ids):
    """Return the logits (T, V) after each of the T ids."""
    work = Workspace(model, len(ids), 1)
    model.run(params, np.array(ids).reshape(-1, 1), model.zero_state(1), work)
    return work.logits.copy()


def test_without_new_characters_the_initial_loss_is_that_of_the_old_model(charrnn, old, config):
    """Without new characters, the weights are equal and so is the initial loss."""
    path = old()
    run = trainer_of(config(OLD), checkpoint.load(path))
    saved = checkpoint.load(path)
    assert run.params.flat.tobytes() == saved.params.flat.tobytes()
    batch = run.peek_batch()
    ids = np.concatenate([batch.ids[:1], batch.targets]).T  # (1, T + 1)
    nats, _ = Evaluator(saved.model, saved.params).score_sequence(ids[0], saved.model.zero_state(1))
    assert run.initial_nats() == pytest.approx(nats.mean(), rel=1e-6)
    result = charrnn("train", config(OLD), "--init-from", path)
    assert (result.exit_code, result.stdout.strip()) == (0, str(Path(path).parent / "small.npz"))
    assert f"initial loss {nats.mean():.4f} nats" in result.stderr
    assert f"starting from the weights of {path} at step 20" in result.stderr
    assert "new initial weights" not in result.stderr


def test_the_training_loss_starts_at_the_initial_loss(old, config):
    """The mean loss of the updates starts at the loss of the first, not at that of guessing."""
    run = trainer_of(config(OLD), checkpoint.load(old()))
    first = run.initial_nats()
    run.update()
    assert run.training_state.train_nats == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_the_weights_of_old_characters_are_copied(old, config, cell, layers):
    """The weights of old characters are copied bit for bit, and their logits are the same."""
    source = checkpoint.load(old(model={"cell": cell, "hidden": 8, "layers": layers}))
    model = {"cell": cell, "hidden": 8, "layers": layers}
    run = trainer_of(config(NEW, model=model), source)
    assert run.corpus.vocab.chars == "\nabcdefg"
    assert [run.corpus.vocab.chars.index(char) for char in source.vocab.chars] == OLD_IDS
    for name, array in source.params.items():
        copied = run.params[name]
        if name == "layer0.Wxh":
            copied = copied[OLD_IDS]
        elif name in ("Why", "by"):
            copied = copied[..., OLD_IDS]
        assert copied.tobytes() == array.tobytes(), name
    before = logits(source.model, source.params, [0, 1, 2, 3, 3, 1])
    after = logits(run.model, run.params, [0, 2, 4, 6, 6, 2])[:, OLD_IDS]
    np.testing.assert_allclose(
        after, before, rtol=1e-5, atol=1e-6
    )  # a wider product may round otherwise


def test_new_characters_get_initial_weights(old, config):
    """A new character gets the weights that the seed draws, and the smallest old bias."""
    source = checkpoint.load(old())
    run = trainer_of(config(NEW), source)
    initial = Trainer(run.config, run.corpus).params
    new = [1, 3, 5, 7]
    assert (run.params["layer0.Wxh"][new] == initial["layer0.Wxh"][new]).all()
    assert (run.params["Why"][:, new] == initial["Why"][:, new]).all()
    assert run.params["layer0.Wxh"][new].all()
    assert (run.params["by"][new] == source.params["by"].min()).all()


def test_only_the_weights_are_copied(old, config):
    """A warm start does not copy the step, seed, history, optimizer state or best loss."""
    source = checkpoint.load(old(optimizer={"name": "adam"}))
    path = config(NEW, optimizer={"name": "rmsprop"}, train={"seed": 9})
    run = trainer_of(path, source)
    assert (run.step, run.seed, run.history) == (0, 9, [])
    assert not run.optimizer.state_vectors["squares"].any()
    assert run.optimizer.state_vectors.keys() == {"squares"}
    assert run.training_state.best_nats is None


def test_a_warm_start_copies_the_averaged_weights(old, config):
    """A warm start copies the averaged weights, and the new average starts from them."""
    source = checkpoint.load(old(optimizer={"ema_decay": 0.9}))
    assert (source.training_weights != source.params.flat).any()
    run = trainer_of(config(OLD, optimizer={"ema_decay": 0.5}), source)
    assert run.params.flat.tobytes() == source.params.flat.tobytes()
    assert run.eval_params.flat.tobytes() == source.params.flat.tobytes()
    assert run.eval_params.flat is not run.params.flat


def test_the_number_type_and_dropout_may_differ(old, config):
    """A warm start casts float32 weights to float64, and back without loss."""
    path = old()
    source = checkpoint.load(path)
    model = {"hidden": 8, "dtype": "float64", "dropout": 0.5}
    wide = trainer_of(config(OLD, model=model), source)
    assert wide.params.flat.dtype == np.float64
    assert (wide.params.flat == source.params.flat).all()
    back = trainer_of(config(OLD), wide.snapshot())
    assert back.params.flat.tobytes() == source.params.flat.tobytes()


def test_a_weight_too_large_for_single_precision_is_refused(old, config):
    """A weight that would be infinite in float32 is an error that names the setting to change."""
    source = checkpoint.load(old(model={"hidden": 8, "dtype": "float64"}))
    source.params.flat[3] = 1e300
    with pytest.raises(CheckpointError, match="too large for float32") as caught:
        trainer_of(config(OLD), source)
    assert "--set model.dtype=float64" in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "differences"),
    [
        ({"cell": "gru", "hidden": 8}, ["model.cell: rnn -> gru"]),
        ({"hidden": 9}, ["model.hidden: 8 -> 9"]),
        ({"hidden": 9, "layers": 2}, ["model.hidden: 8 -> 9", "model.layers: 1 -> 2"]),
    ],
)
def test_another_network_is_refused(charrnn, old, config, settings, differences):
    """The error for another network names every difference and the options that undo them."""
    path = old()
    result = charrnn("train", config(OLD, model=settings), "--init-from", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert [line for line in result.stderr.splitlines() if " -> " in line] == differences
    options = result.stderr.splitlines()[-1].partition(": ")[2].split()
    assert not (Path(path).parent / "small.npz").exists()
    command = ("train", config(OLD, model=settings), "--init-from", path, *options)
    assert charrnn(*command).exit_code == 0


def test_new_characters_are_named(charrnn, old, config):
    """A message lists the first twenty new characters in printable form, and counts the others."""
    path = old()
    strange = "".join(map(chr, [0x1B, 0xE9, 0x202E, *range(0x4E00, 0x4E1E)]))
    result = charrnn("train", config(OLD + f"{strange}\n" * 3), "--init-from", path)
    assert result.exit_code == 0, result.stderr
    message = re.search(r"^new initial weights for 33 characters .*$", result.stderr, re.MULTILINE)[
        0
    ]
    assert message.isprintable()
    assert message.isascii()
    assert ": '\\x1b' (U+001B), '\\xe9' (U+00E9), '\\u202e' (U+202E), " in message
    assert message.count("(U+") == 20
    assert message.endswith(", and 13 more")
    assert list_characters(["a"]) == "'a' (U+0061)"
    stderr = charrnn("train", config(OLD + "x\n" * 3), "--init-from", path).stderr
    assert "for one character outside the old vocabulary: 'x' (U+0078)\n" in stderr


def test_a_lowercase_corpus_keeps_the_capitals_of_the_old_vocabulary(
    charrnn, old, config, tmp_path
):
    """A lowercased corpus adds small letters to the capitals of the old vocabulary."""
    source = tmp_path / "capital.npz"
    assert charrnn("train", config(OLD.upper()), "--out", source).exit_code == 0
    path = config(OLD.upper(), name="folded")
    path.write_text(path.read_text().replace("  mode:", "  lowercase: true\n  mode:"))
    result = charrnn("train", path, "--init-from", source)
    assert result.exit_code == 0, result.stderr
    assert checkpoint.load(result.stdout.strip()).vocab.chars == "\nBDFbdf"
    assert "new initial weights for 3 characters" in result.stderr


def test_a_run_after_a_warm_start_can_be_resumed(charrnn, old, config, tmp_path):
    """A run after a warm start resumes exactly, also if its text lacks some old characters."""
    path = old()
    text, out = "aba\nbab\nabb\nbba\naab\n", tmp_path / "small.npz"
    command = ["train", config(text), "--init-from", path]
    full = charrnn(*command, "--set", "train.steps=40", "--out", tmp_path / "full.npz")
    assert full.exit_code == 0, full.stderr
    assert charrnn(*command).exit_code == 0
    result = charrnn("train", out, "--resume", "--set", "train.steps=40")
    assert result.exit_code == 0, result.stderr
    resumed, expected = checkpoint.load(str(out)), checkpoint.load(str(tmp_path / "full.npz"))
    assert resumed.vocab.chars == "\nabdf"
    assert resumed.params.flat.tobytes() == expected.params.flat.tobytes()
    assert charrnn("sample", out, "--n", 5, "--prime", "f", "-q").exit_code == 0


def test_the_weights_may_come_from_stdin(charrnn, old, config, tmp_path):
    """Weights from standard input give the same run, if nothing else is read from there."""
    path, text = old(), config(OLD)
    expected = charrnn("train", text, "--init-from", path, "-q").stdout.strip()
    expected = checkpoint.load(expected).params.flat.tobytes()
    raw = Path(path).read_bytes()
    result = charrnn("train", text, "--init-from", "-", "-q", stdin=raw)
    assert checkpoint.load(result.stdout.strip()).params.flat.tobytes() == expected
    for command in (["train", "-"], ["train", text, "--corpus", "-"]):
        result = charrnn(*command, "--init-from", "-", stdin=raw)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "cannot both come from standard input" in result.stderr


def test_contradictory_options_of_a_warm_start_are_refused(charrnn, old, config):
    """A warm start is refused with --resume, or if it would overwrite its source checkpoint."""
    path = Path(old())
    earlier = path.rename(path.with_suffix(".old.npz"))
    before = earlier.read_bytes()
    command = ["train", config(OLD), "--init-from", earlier]
    cases = {
        "leave one of them out": ["--resume"],
        f"{earlier} is the checkpoint of --init-from, and training would": ["--out", earlier],
        f"{earlier} is the checkpoint of --init-from": ["--out", path],
    }
    for message, options in cases.items():
        result = charrnn(*command, *options)
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr
    assert earlier.read_bytes() == before
    result = charrnn("train", config(OLD), "--init-from", "none.npz")
    assert (result.exit_code, "none.npz: no such checkpoint" in result.stderr) == (1, True)
