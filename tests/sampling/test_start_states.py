"""Running text starts from states after stretches of the training text."""

import networks
import numpy as np
import pytest
from run_helpers import PROSE, RecordingCallbacks

from charrnn import api, checkpoint
from charrnn.arrays import StartStates
from charrnn.data.vocabulary import Vocab
from charrnn.nn.workspace import Workspaces
from charrnn.sampling import start_states
from charrnn.sampling.drawing import SamplingOptions
from charrnn.sampling.sampler import Sampler, StopConditions
from charrnn.training import loop

VOCAB = Vocab("\nabcdef")


@pytest.mark.parametrize(
    ("text", "end"),
    [("abc\n\nfed\nab" * 500, "\n\n"), ("abc\nfed" * 500, "\n"), ("abcfed" * 500, "")],
    ids=["paragraphs", "lines", "neither"],
)
def test_a_stretch_ends_at_a_paragraph_or_a_line(text, end):
    """Stretches are parts of the text, of 256 characters, and end with a paragraph or line."""
    ids = start_states.stretches(VOCAB.encode(text), VOCAB, seed=3)
    assert ids.shape == (256, 16)
    for column in ids.T:
        stretch = VOCAB.decode(column.tolist())
        assert stretch in text
        assert stretch.endswith(end)


def test_the_seed_of_the_run_chooses_the_stretches():
    """Equal seeds give equal stretches, and another seed gives others."""
    text = np.random.default_rng(0).integers(0, len(VOCAB), 5000)
    ids, repeated, different = (start_states.stretches(text, VOCAB, seed) for seed in (3, 3, 4))
    assert (ids == repeated).all()
    assert (ids != different).any()


def test_a_short_text_has_short_stretches():
    """A text of three characters has stretches of at most three."""
    ids = start_states.stretches(VOCAB.encode("ab\n"), VOCAB, seed=3)
    assert ids.shape == (3, 16)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_text_continues_a_stretch(cell):
    """A text has the probabilities of the network after a stretch and the prime."""
    model, params = networks.network(cell, vocab_size=len(VOCAB))
    ids = np.random.default_rng(0).integers(0, len(VOCAB), (40, 16))
    starts = start_states.compute(model, params, ids)
    sampler = Sampler(model, params, VOCAB, "stream", starts)
    logits, _ = sampler.after_prime(0, "fa", np.arange(16))
    prime = np.repeat(VOCAB.encode("fa").reshape(-1, 1), 16, axis=1)
    work = Workspaces(model).get(42, 16)
    model.run(params, np.concatenate([ids, prime]), model.zero_state(16), work)
    np.testing.assert_allclose(logits, work.logits[-16:], atol=1e-10)


def test_the_seed_and_the_number_choose_the_start():
    """Texts of one seed start from many states, and a stream from that of its number."""
    model, params = networks.network("gru", vocab_size=len(VOCAB))
    rng = np.random.default_rng(0)
    state = rng.uniform(-1, 1, model.state_shape(16)).astype(model.dtype)
    sampler = Sampler(model, params, VOCAB, "stream", StartStates(state, np.arange(16) % 7))
    assert len({*sampler._starts(0, np.arange(200)).tolist()}) == 16
    request = 5, SamplingOptions(), StopConditions(chars=30), "ab"
    texts = [text.text for text in sampler.texts(*request, 20)]
    for number in (0, 7, 19):
        assert "".join(sampler.stream(*request, number)) == texts[number]


def test_a_checkpoint_of_running_text_has_16_starts(trainer, tmp_path):
    """The states belong to the saved weights; a model of lines has none."""
    for mode, count in (("stream", 16), ("lines", None)):
        run, path = trainer(mode=mode), str(tmp_path / "run.npz")
        loop.run(run, path, RecordingCallbacks())
        saved = checkpoint.load(path)
        if count is None:
            assert saved.starts is None
            continue
        ids = start_states.stretches(run.corpus.training, run.corpus.vocab, run.seed)
        expected = start_states.compute(saved.model, saved.params, ids)
        assert saved.starts.ids.tolist() == expected.ids.tolist()
        np.testing.assert_array_equal(saved.starts.state, expected.state)


def test_the_starts_of_a_run_with_dropout_have_no_mask(trainer):
    """Also where the training has windows of the size of the stretches."""
    settings = ("train.seq_length=255", "train.batch_size=16", "model.dropout=0.5")
    run = trainer(*settings, "model.layers=2")
    run.update()
    ids = start_states.stretches(run.corpus.training, run.corpus.vocab, run.seed)
    expected = start_states.compute(run.model, run.params, ids)
    np.testing.assert_array_equal(run.snapshot().starts.state, expected.state)


def test_from_zero_gives_the_old_way(charrnn, config, tmp_path):
    """--from-zero starts from the zero state, with other text than without it."""
    train = {"steps": 300, "seed": 7}
    path = charrnn("train", config(PROSE, "stream", train=train), "-q").stdout.strip()
    command = ("sample", path, "--n", 60, "--seed", 1, "-q")
    default, zero = (charrnn(*command, *flags).stdout for flags in ((), ("--from-zero",)))
    assert default != zero
    loaded = checkpoint.load(path)
    sampler = Sampler(loaded.model, loaded.params, loaded.vocab, "stream")
    expected = "".join(sampler.stream(1, SamplingOptions(), StopConditions(chars=60)))
    assert zero.removesuffix("\n") == expected.removesuffix("\n")
    model = api.load(path)
    assert "".join(model.sample(60, seed=1)).removesuffix("\n") == default.removesuffix("\n")
    assert "".join(model.sample(60, seed=1, from_zero=True)) == expected
