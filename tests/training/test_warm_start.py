"""A run that begins with the weights of another one, on a text with the same characters or more."""

import re
from pathlib import Path

import numpy as np
import pytest
from run_helpers import LINES

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
AMONG = [0, 2, 4, 6]  # where the old ones stand among the new


@pytest.fixture
def old(charrnn, config):
    """Trains a small model of `OLD`, and tells its path."""

    def train(**sections):
        result = charrnn("train", config(OLD, name="old", **sections), "-q")
        assert result.exit_code == 0, result.stderr
        return result.stdout.strip()

    return train


def trainer_of(path, source: Checkpoint, *settings) -> Trainer:
    """A trainer of a config and its text, begun with the weights of `source`."""
    config = configs.load(str(path), settings)
    run = Trainer(
        config, corpus.read_corpus(config.corpus, config.train.seed, source.vocab, extend=True)
    )
    run.warm_start(source)
    run.expected_nats = run.initial_nats()  # as a session does, when all ranks are there
    return run


def logits(model, params, ids):
    """The logits (T, V) after each of these characters."""
    work = Workspace(model, len(ids), 1)
    model.run(params, np.array(ids).reshape(-1, 1), model.zero_state(1), work)
    return work.logits.copy()


def test_without_new_characters_the_first_loss_is_the_old_models(charrnn, old, config):
    """To the last digit shown, and what it scores is exactly the same."""
    path = old()
    run = trainer_of(config(OLD), checkpoint.load(path))
    saved = checkpoint.load(path)
    assert run.params.flat.tobytes() == saved.params.flat.tobytes()
    batch = run._peek_batch()
    ids = np.concatenate([batch.ids[:1], batch.targets]).T  # (1, T + 1)
    nats, _ = Evaluator(saved.model, saved.params).score_sequence(ids[0], saved.model.zero_state(1))
    assert run.initial_nats() == pytest.approx(nats.mean(), rel=1e-6)
    result = charrnn("train", config(OLD), "--init-from", path)
    assert (result.exit_code, result.stdout.strip()) == (0, str(Path(path).parent / "small.npz"))
    assert f"initial loss {nats.mean():.4f} nats" in result.stderr
    assert f"beginning with the weights of {path} at step 20" in result.stderr
    assert "fresh weights" not in result.stderr


def test_the_smoothed_loss_begins_with_the_first(old, config):
    """Not with that of guessing, from which it would take thousands of steps to come down."""
    run = trainer_of(config(OLD), checkpoint.load(old()))
    first = run.initial_nats()
    run.update()
    assert run.training_state.smooth_nats == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_known_stays_as_it_was(old, config, cell, layers):
    """Weights to the last bit, and so the old characters' logits, with new ones in between."""
    source = checkpoint.load(old(model={"cell": cell, "hidden": 8, "layers": layers}))
    model = {"cell": cell, "hidden": 8, "layers": layers}
    run = trainer_of(config(NEW, model=model), source)
    assert run.corpus.vocab.chars == "\nabcdefg"
    assert [run.corpus.vocab.chars.index(char) for char in source.vocab.chars] == AMONG
    for name, array in source.params.items():
        found = run.params[name]
        if name == "layer0.Wxh":
            found = found[AMONG]
        elif name in ("Why", "by"):
            found = found[..., AMONG]
        assert found.tobytes() == array.tobytes(), name
    before = logits(source.model, source.params, [0, 1, 2, 3, 3, 1])
    after = logits(run.model, run.params, [0, 2, 4, 6, 6, 2])[:, AMONG]
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)  # a wider product may round


def test_new_characters_begin_as_in_a_fresh_model(old, config):
    """With the weights this seed draws for them, and no likelier than the rarest of the old."""
    source = checkpoint.load(old())
    run = trainer_of(config(NEW), source)
    from_zero = Trainer(run.config, run.corpus).params
    new = [1, 3, 5, 7]
    assert (run.params["layer0.Wxh"][new] == from_zero["layer0.Wxh"][new]).all()
    assert (run.params["Why"][:, new] == from_zero["Why"][:, new]).all()
    assert run.params["layer0.Wxh"][new].all()
    assert (run.params["by"][new] == source.params["by"].min()).all()


def test_everything_else_begins_anew(old, config):
    """The step, the optimiser, the figures, the seed, the settings."""
    source = checkpoint.load(old(optimizer={"name": "adam"}))
    path = config(NEW, optimizer={"name": "rmsprop"}, train={"seed": 9})
    run = trainer_of(path, source)
    assert (run.step, run.seed, run.history) == (0, 9, [])
    assert not run.optimizer.state_vectors["squares"].any()
    assert run.optimizer.state_vectors.keys() == {"squares"}
    assert run.training_state.best_nats is None


def test_the_average_is_what_is_taken(old, config):
    """It is what the old model showed; and an average of the new run begins there."""
    source = checkpoint.load(old(optimizer={"ema_decay": 0.9}))
    assert (source.training_weights != source.params.flat).any()
    run = trainer_of(config(OLD, optimizer={"ema_decay": 0.5}), source)
    assert run.params.flat.tobytes() == source.params.flat.tobytes()
    assert run.eval_params.flat.tobytes() == source.params.flat.tobytes()
    assert run.eval_params.flat is not run.params.flat


def test_the_number_type_and_dropout_may_differ(old, config):
    """Weights are cast, there and back without a loss."""
    path = old()
    source = checkpoint.load(path)
    model = {"hidden": 8, "dtype": "float64", "dropout": 0.5}
    wide = trainer_of(config(OLD, model=model), source)
    assert wide.params.flat.dtype == np.float64
    assert (wide.params.flat == source.params.flat).all()
    back = trainer_of(config(OLD), wide.snapshot())
    assert back.params.flat.tobytes() == source.params.flat.tobytes()


def test_a_weight_too_large_for_single_precision_is_told(old, config):
    """It would be infinite."""
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
    """Every difference is named, and how to take the old network; nothing is written."""
    path = old()
    result = charrnn("train", config(OLD, model=settings), "--init-from", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert [line for line in result.stderr.splitlines() if " -> " in line] == differences
    back = result.stderr.splitlines()[-1].partition(": ")[2].split()
    assert not (Path(path).parent / "small.npz").exists()
    assert charrnn("train", config(OLD, model=settings), "--init-from", path, *back).exit_code == 0


def test_new_characters_are_named(charrnn, old, config):
    """In a printable form, the first twenty, and how many more there are."""
    path = old()
    strange = "".join(map(chr, [0x1B, 0xE9, 0x202E, *range(0x4E00, 0x4E1E)]))
    result = charrnn("train", config(OLD + f"{strange}\n" * 3), "--init-from", path)
    assert result.exit_code == 0, result.stderr
    said = re.search(r"^fresh weights for 33 characters .*$", result.stderr, re.MULTILINE)[0]
    assert said.isprintable()
    assert said.isascii()
    assert ": '\\x1b' (U+001B), '\\xe9' (U+00E9), '\\u202e' (U+202E), " in said
    assert said.count("(U+") == 20
    assert said.endswith(", and 13 more")
    assert list_characters(["a"]) == "'a' (U+0061)"
    one = charrnn("train", config(OLD + "x\n" * 3), "--init-from", path).stderr
    assert "for one character that the model does not know: 'x' (U+0078)\n" in one


def test_the_new_config_says_whether_case_counts(charrnn, old, config, tmp_path):
    """Capitals of the old model stay, and have nothing to do in a text folded to lower case."""
    source = tmp_path / "capital.npz"
    assert charrnn("train", config(OLD.upper()), "--out", source).exit_code == 0
    path = config(OLD.upper(), name="folded")
    path.write_text(path.read_text().replace("  mode:", "  lowercase: true\n  mode:"))
    result = charrnn("train", path, "--init-from", source)
    assert result.exit_code == 0, result.stderr
    assert checkpoint.load(result.stdout.strip()).vocab.chars == "\nBDFbdf"
    assert "fresh weights for 3 characters" in result.stderr


def test_a_transferred_run_is_saved_and_resumed_like_any_other(charrnn, old, config, tmp_path):
    """Also where its vocabulary has more characters than its text."""
    path = old()
    text, out = "aba\nbab\nabb\nbba\naab\n", tmp_path / "small.npz"
    words = ["train", config(text), "--init-from", path]
    whole = charrnn(*words, "--set", "train.steps=40", "--out", tmp_path / "whole.npz")
    assert whole.exit_code == 0, whole.stderr
    assert charrnn(*words).exit_code == 0
    result = charrnn("train", out, "--resume", "--set", "train.steps=40")
    assert result.exit_code == 0, result.stderr
    found, expected = checkpoint.load(str(out)), checkpoint.load(str(tmp_path / "whole.npz"))
    assert found.vocab.chars == "\nabdf"
    assert found.params.flat.tobytes() == expected.params.flat.tobytes()
    assert charrnn("sample", out, "--n", 5, "--prime", "f", "-q").exit_code == 0


def test_the_weights_may_come_from_stdin(charrnn, old, config, tmp_path):
    """And give the same run; what else would be read there contradicts it."""
    path, text = old(), config(OLD)
    expected = charrnn("train", text, "--init-from", path, "-q").stdout.strip()
    expected = checkpoint.load(expected).params.flat.tobytes()
    raw = Path(path).read_bytes()
    result = charrnn("train", text, "--init-from", "-", "-q", stdin=raw)
    assert checkpoint.load(result.stdout.strip()).params.flat.tobytes() == expected
    for words in (["train", "-"], ["train", text, "--corpus", "-"]):
        result = charrnn(*words, "--init-from", "-", stdin=raw)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "cannot both come from standard input" in result.stderr


def test_what_contradicts_itself_is_refused(charrnn, old, config):
    """To resume and to begin anew; to write over the weights that a run begins with."""
    path = Path(old())
    best = path.rename(path.with_suffix(".best.npz"))
    before = best.read_bytes()
    words = ["train", config(OLD), "--init-from", best]
    calls = {
        "leave one of them out": ["--resume"],
        f"{best} is the checkpoint of --init-from, and training would": ["--out", best],
        f"{best} is the checkpoint of --init-from": ["--set", "output.keep=best", "--out", path],
    }
    for said, more in calls.items():
        result = charrnn(*words, *more)
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr
    assert charrnn(*words, "--out", path).exit_code == 0  # keep: last does not touch the best
    assert best.read_bytes() == before
    none = charrnn("train", config(OLD), "--init-from", "none.npz")
    assert (none.exit_code, "none.npz: no such checkpoint" in none.stderr) == (1, True)


def test_a_low_first_loss_is_no_bound_for_the_later_ones(old, config):
    """A run that begins knowing its first window by heart has not diverged by the second."""
    run = trainer_of(config(LINES, "stream"), checkpoint.load(old()))
    run.update()
    run.training_state.first_nats = run.training_state.quick_nats = 0.001
    for _ in range(2 * run.batches.per_epoch()):
        run.update()
    assert run.batches.epoch > 1
