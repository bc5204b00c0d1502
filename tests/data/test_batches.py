"""What the network is shown: windows that line up, records that are seen once, places that hold."""

import numpy as np
import pytest

from charrnn.config.schema import CorpusConfig
from charrnn.data import batches, corpus
from charrnn.errors import CorpusError


@pytest.fixture
def records(tmp_path):
    """A corpus of lines of many lengths."""
    path = tmp_path / "lines.txt"
    rng = np.random.default_rng(0)
    lines = ["".join(rng.choice(list("abcdefgh"), rng.integers(1, 20))) for _ in range(300)]
    path.write_text("\n".join(dict.fromkeys(lines)) + "\n", encoding="utf-8")
    return corpus.read_corpus(CorpusConfig(path=(str(path),), mode="lines", validation=0.1), seed=1)


def texts(vocab, batch):
    """The rows of a batch as (inputs, targets), padding cut off."""
    mask = np.ones(batch.ids.shape) if batch.mask is None else batch.mask
    for b in range(batch.ids.shape[1]):
        length = int(mask[:, b].sum())
        yield vocab.decode(batch.ids[:length, b]), vocab.decode(batch.targets[:length, b])


def test_a_target_is_the_character_after_its_input():
    """Along the time axis, in every row."""
    stream = batches.StreamBatches(np.arange(100), T=5, B=3)
    for _ in range(20):
        batch = stream.next()
        assert batch.ids.shape == (5, 3)
        assert (batch.targets == batch.ids + 1).all()


def test_parallel_readers_go_on_where_they_were():
    """Row b of a window continues row b of the last one, until all start again together."""
    stream = batches.StreamBatches(np.arange(100), T=5, B=3)
    before = stream.next()
    assert before.from_zero
    assert before.ids[0].tolist() == [0, 33, 66]
    for _ in range(5):
        batch = stream.next()
        assert not batch.from_zero
        assert (batch.ids[0] == before.targets[-1]).all()
        before = batch
    again = stream.next()
    assert again.from_zero
    assert again.ids[0].tolist() == [0, 33, 66]
    assert stream.epoch == 1
    assert stream.per_epoch() == 6


@pytest.mark.parametrize(("N", "windows"), [(30, 5), (31, 5), (32, 6), (36, 6), (37, 7)])
def test_the_last_window_of_a_stream_is_the_last_of_the_gist(N, windows):
    """It starts anew where p + T + 1 >= N, so a character at least is left over."""
    stream = batches.StreamBatches(np.arange(N), T=5, B=1)
    ends = [stream.next().targets[-1, 0] for _ in range(2 * windows)]
    assert ends == 2 * [5 * (n + 1) for n in range(windows)]
    assert stream.epoch == 1
    assert stream.per_epoch() == windows
    assert all(p + 5 + 1 < N for p in range(0, 5 * windows, 5))
    assert 5 * windows + 5 + 1 >= N


@pytest.mark.parametrize(("N", "T", "B"), [(27, 25, 1), (40, 5, 8), (3, 1, 1)])
def test_the_setting_that_a_short_text_is_told_works(N, T, B):
    """One character less than needed: the advice, taken literally, must fit."""
    batches.StreamBatches(np.arange((T + 2) * B), T, B)
    with pytest.raises(CorpusError, match=f"has {N - 1:,} characters") as caught:
        batches.StreamBatches(np.arange(N - 1), T, B)
    settings = dict(
        word.removeprefix("train.").split("=")
        for word in caught.value.hint.split()
        if word.startswith("train.")
    )
    T, B = int(settings.get("seq_length", T)), int(settings.get("batch_size", B))
    if settings:
        batches.StreamBatches(np.arange(N - 1), T, B)
    else:
        assert N - 1 < 3


def test_a_record_is_opened_and_closed_by_a_newline(records):
    """Its inputs begin with one and its targets end with one."""
    stream = batches.LineBatches(records, T=256, B=4, seed=1, dtype="float64")
    for _ in range(30):
        batch = stream.next()
        assert batch.from_zero
        for inputs, targets in texts(records.vocab, batch):
            assert inputs[0] == "\n"
            assert targets[-1] == "\n"
            assert inputs[1:] == targets[:-1]
            assert "\n" not in targets[:-1]


@pytest.mark.parametrize("B", [1, 7, 32])
def test_an_epoch_sees_every_line_once(records, B):
    """Each training line once, no validation line, and another order in the next epoch."""
    stream = batches.LineBatches(records, T=256, B=B, seed=1, dtype="float64")
    training = {
        records.vocab.decode(records.records.ids[slice(*records.records.starts[[r, r + 1]])])
        for r in records.training
    }
    orders = []
    for epoch in range(2):
        seen = []
        for _ in range(stream.per_epoch()):
            seen += [targets for _, targets in texts(records.vocab, stream.next())]
            assert stream.epoch == epoch
        assert len(seen) == len(records.training)
        assert set(seen) == training
        orders.append(seen)
    assert orders[0] != orders[1]


def test_long_records_are_read_in_windows(records):
    """The windows of a batch join to its records, the first of them alone being fresh."""
    whole = batches.LineBatches(records, T=256, B=4, seed=1, dtype="float64")
    cut = batches.LineBatches(records, T=5, B=4, seed=1, dtype="float64")
    for _ in range(40):
        batch, at = whole.next(), 0
        while at < len(batch.ids):
            window = cut.next()
            assert window.from_zero == (at == 0)
            assert (window.ids == batch.ids[at : at + 5]).all()
            at += 5


def test_little_of_a_batch_is_padding(records):
    """Lines of similar length are put together."""
    stream = batches.LineBatches(records, T=256, B=16, seed=1, dtype="float64")
    shown = used = 0
    for _ in range(stream.per_epoch()):
        batch = stream.next()
        shown, used = shown + batch.ids.size, used + batch.chars
    assert used / shown > 0.9


def test_windows_from_zero_state_cover_the_text_once_an_epoch():
    """End to end, each window once, every one fresh, in another order each epoch."""
    stream = batches.ZeroStateBatches(np.arange(103), T=5, B=3, seed=1)
    orders = []
    for epoch in range(3):
        starts = []
        for _ in range(stream.per_epoch()):
            batch = stream.next()
            assert batch.from_zero
            assert stream.epoch == epoch
            assert (np.diff(batch.ids, axis=0) == 1).all()
            assert (batch.targets == batch.ids + 1).all()
            starts += batch.ids[0].tolist()
        assert len(starts) == 20
        assert np.diff(sorted(starts)).tolist() == [5] * 19
        orders.append(starts)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("kind", ["stream", "zero", "lines"])
def test_a_position_brings_the_same_batches_back(records, kind):
    """Also in another epoch and in the middle of a batch of long records."""

    def new():
        if kind == "stream":
            return batches.StreamBatches(np.arange(60), T=5, B=3)
        if kind == "zero":
            return batches.ZeroStateBatches(np.arange(60), T=5, B=3, seed=3)
        return batches.LineBatches(records, T=5, B=8, seed=3, dtype="float64")

    for steps in (0, 1, 2, 7, 150):
        here, there = new(), new()
        for _ in range(steps):
            here.next()
        there.seek(here.position())
        for _ in range(100):
            one, other = here.next(), there.next()
            assert (one.ids == other.ids).all()
            assert (one.targets == other.targets).all()
            assert one.from_zero == other.from_zero


def test_more_rows_than_lines_is_refused_with_the_largest_that_works(records):
    """A batch cannot hold a line twice."""
    count = len(records.training)
    with pytest.raises(CorpusError, match=f"more than the {count} training lines") as caught:
        batches.LineBatches(records, T=256, B=count + 1, seed=1, dtype="float64")
    assert f"--set train.batch_size={count}" in caught.value.hint
    batches.LineBatches(records, T=256, B=count, seed=1, dtype="float64")
