"""Batches: targets follow inputs, an epoch contains every line once, positions are restored."""

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
    """Yield the rows of a batch as (inputs, targets), without the padding."""
    mask = np.ones(batch.ids.shape) if batch.mask is None else batch.mask
    for b in range(batch.ids.shape[1]):
        length = int(mask[:, b].sum())
        yield vocab.decode(batch.ids[:length, b]), vocab.decode(batch.targets[:length, b])


def test_a_target_is_the_character_after_its_input():
    """The target at each time step of every row is the next character of the text."""
    stream = batches.StreamBatches(np.arange(100), T=5, B=3)
    for _ in range(20):
        batch = stream.next()
        assert batch.ids.shape == (5, 3)
        assert (batch.targets == batch.ids + 1).all()


def test_rows_continue_the_previous_window_until_the_epoch_ends():
    """Row b of a window continues row b of the previous one; at the end all rows start again."""
    stream = batches.StreamBatches(np.arange(100), T=5, B=3)
    previous = stream.next()
    assert previous.from_zero
    assert previous.ids[0].tolist() == [0, 33, 66]
    for _ in range(5):
        batch = stream.next()
        assert not batch.from_zero
        assert (batch.ids[0] == previous.targets[-1]).all()
        previous = batch
    restarted = stream.next()
    assert restarted.from_zero
    assert restarted.ids[0].tolist() == [0, 33, 66]
    assert stream.epoch == 1
    assert stream.per_epoch() == 6


@pytest.mark.parametrize(("N", "windows"), [(30, 5), (31, 5), (32, 6), (36, 6), (37, 7)])
def test_the_last_window_of_a_stream_is_the_last_of_the_gist(N, windows):
    """A stream starts again where p + T + 1 >= N, so at least one character stays unused."""
    stream = batches.StreamBatches(np.arange(N), T=5, B=1)
    ends = [stream.next().targets[-1, 0] for _ in range(2 * windows)]
    assert ends == 2 * [5 * (n + 1) for n in range(windows)]
    assert stream.epoch == 1
    assert stream.per_epoch() == windows
    assert all(p + 5 + 1 < N for p in range(0, 5 * windows, 5))
    assert 5 * windows + 5 + 1 >= N


@pytest.mark.parametrize(("N", "T", "B"), [(27, 25, 1), (40, 5, 8), (3, 1, 1)])
def test_the_settings_in_the_message_fit_a_short_text(N, T, B):
    """With one character too few, the message names settings that work for this text."""
    batches.StreamBatches(np.arange((T + 2) * B), T, B)
    with pytest.raises(CorpusError, match=f"has {N - 1:,} characters") as error:
        batches.StreamBatches(np.arange(N - 1), T, B)
    settings = dict(
        word.removeprefix("train.").split("=")
        for word in error.value.hint.split()
        if word.startswith("train.")
    )
    T, B = int(settings.get("seq_length", T)), int(settings.get("batch_size", B))
    if settings:
        batches.StreamBatches(np.arange(N - 1), T, B)
    else:
        assert N - 1 < 3


def test_a_newline_opens_and_closes_a_record(records):
    """The inputs of a record start with a newline, and its targets end with one."""
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
def test_an_epoch_contains_every_training_line_once(records, B):
    """An epoch has each training line once and no validation line, and its own order."""
    stream = batches.LineBatches(records, T=256, B=B, seed=1, dtype="float64")
    training = {
        records.vocab.decode(records.records.ids[slice(*records.records.starts[[r, r + 1]])])
        for r in records.training
    }
    orders = []
    for epoch in range(2):
        lines = []
        for _ in range(stream.per_epoch()):
            lines += [targets for _, targets in texts(records.vocab, stream.next())]
            assert stream.epoch == epoch
        assert len(lines) == len(records.training)
        assert set(lines) == training
        orders.append(lines)
    assert orders[0] != orders[1]


def test_long_records_are_read_in_windows(records):
    """The windows of long records join to the records; only the first starts from zero."""
    uncut = batches.LineBatches(records, T=256, B=4, seed=1, dtype="float64")
    cut = batches.LineBatches(records, T=5, B=4, seed=1, dtype="float64")
    for _ in range(40):
        batch, offset = uncut.next(), 0
        while offset < len(batch.ids):
            window = cut.next()
            assert window.from_zero == (offset == 0)
            assert (window.ids == batch.ids[offset : offset + 5]).all()
            offset += 5


def test_little_of_a_batch_is_padding(records):
    """Batches of lines of similar length are padding for less than a tenth."""
    stream = batches.LineBatches(records, T=256, B=16, seed=1, dtype="float64")
    size = chars = 0
    for _ in range(stream.per_epoch()):
        batch = stream.next()
        size, chars = size + batch.ids.size, chars + batch.chars
    assert chars / size > 0.9


def test_windows_from_zero_state_cover_the_text_once_an_epoch():
    """Every epoch has each window once, from the zero state, end to end, in a new order."""
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
def test_a_position_restores_the_same_batches(records, kind):
    """A position gives the same batches, also in a later epoch or inside a batch."""

    def new():
        if kind == "stream":
            return batches.StreamBatches(np.arange(60), T=5, B=3)
        if kind == "zero":
            return batches.ZeroStateBatches(np.arange(60), T=5, B=3, seed=3)
        return batches.LineBatches(records, T=5, B=8, seed=3, dtype="float64")

    for steps in (0, 1, 2, 7, 150):
        original, restored = new(), new()
        for _ in range(steps):
            original.next()
        restored.seek(original.position())
        for _ in range(100):
            expected, batch = original.next(), restored.next()
            assert (batch.ids == expected.ids).all()
            assert (batch.targets == expected.targets).all()
            assert batch.from_zero == expected.from_zero


def test_more_rows_than_lines_are_refused(records):
    """A batch size above the number of lines is an error that names the largest valid one."""
    count = len(records.training)
    with pytest.raises(CorpusError, match=f"more than the {count} training lines") as error:
        batches.LineBatches(records, T=256, B=count + 1, seed=1, dtype="float64")
    assert f"--set train.batch_size={count}" in error.value.hint
    batches.LineBatches(records, T=256, B=count, seed=1, dtype="float64")


def test_a_share_of_the_windows_starts_from_zero():
    """With a reset of 5 %, about one window in twenty starts from zero, from any position alike."""

    def resets(seed, position=None, reset=0.05):
        stream = batches.StreamBatches(np.arange(200_000), T=5, B=1, seed=seed, reset=reset)
        if position is not None:
            stream.seek(position)
        return stream, [stream.next().from_zero for _ in range(20_000)]

    stream, flags = resets(1)
    assert 900 < sum(flags) < 1100
    assert resets(1)[1] == flags
    assert resets(2)[1] != flags
    assert resets(1, {"epoch": 0, "offset": 5 * 7_000})[1][:13_000] == flags[7_000:]
    assert resets(1, {"epoch": 1, "offset": 0})[1][1:] != flags[1:]
    assert sum(resets(1, reset=0.0)[1]) == 1
    assert stream.epoch == 0
