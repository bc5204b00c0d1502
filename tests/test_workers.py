"""Threads that share the rows: the same loss, the same gradient, and always the same bytes."""

import threading

import networks
import numpy as np
import pytest

from charrnn.evaluate import PREDICTION, Evaluator
from charrnn.model import Batch, Model
from charrnn.workers import Team, Workers

ROWS = 7


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("threads", [2, 3, 7, 9])
def test_the_sum_of_the_shares_is_the_whole(cell, masked, threads):
    """Loss, gradient and new state, in float64 to 1e-12, also with more threads than rows."""
    model, params = networks.network(cell, layers=2)
    batch, state = networks.batch(B=ROWS, masked=masked), networks.state_of(model, ROWS)
    results = []
    for team in (Team(1), Team(threads)):
        workers, grads = Workers(model, params, team, seed=1), params.zeros_like()
        loss, new_state = workers.forward(batch, state, step=5)
        workers.backward(grads, 0.7)
        results.append((loss, grads.flat, new_state))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-12)


@pytest.mark.parametrize("variational", [False, True])
def test_each_thread_drops_by_step_and_place_alone(variational):
    """So the same run gives the same bytes, whatever was computed before."""
    sizes = (networks.V, "gru", networks.H, 2, "float64")
    model = Model(*sizes, dropout=0.4, variational=variational, recurrent_dropout=0.3)
    _, params = networks.network("gru", layers=2)
    batch, state = networks.batch(B=ROWS), networks.state_of(model, ROWS)

    def gradient(step, before=()):
        workers, grads = Workers(model, params, Team(2), seed=1), params.zeros_like()
        for other in before:
            workers.forward(networks.batch(T=other, B=ROWS), state, step=other)
        workers.forward(batch, state, step)
        workers.backward(grads)
        return grads.flat.tobytes()

    assert gradient(5) == gradient(5, before=(9, 2))
    assert gradient(5) != gradient(6)


def test_rows_are_cut_into_equal_parts():
    """None of them empty, and all of them there."""
    assert Team(3).cut(7) == [slice(0, 2), slice(2, 4), slice(4, 7)]
    assert Team(3).cut(2) == [slice(0, 1), slice(1, 2)]
    assert Team(1).cut(5) == [slice(0, 5)]


def test_a_team_works_at_the_same_time():
    """All of its threads are in the task at once, or this would wait for ever."""
    together = threading.Barrier(3)
    assert len(set(Team(3).each(lambda k: (together.wait(30), k)[1], 3))) == 3


def test_an_error_of_any_thread_is_raised_when_all_are_done():
    """So that none of them still writes to what the caller goes on with."""
    ended = []

    def task(k):
        if k == 1:
            raise ValueError("thread 1")
        ended.append(k)

    with pytest.raises(ValueError, match="thread 1"):
        Team(3).each(task, 3)
    assert sorted(ended) == [0, 2]


def test_overflow_is_treated_alike_in_every_thread():
    """NumPy keeps what it is to do for each thread on its own."""
    with pytest.raises(FloatingPointError):
        Team(2).each(lambda k: np.float32(3e38) * np.array([10], np.float32) if k else 0, 2)
    with np.errstate(over="ignore"):
        Team(2).each(lambda k: np.float32(3e38) * np.array([10], np.float32), 2)


@pytest.mark.parametrize("mode", ["pieces", "records"])
def test_scores_do_not_depend_on_the_threads(mode):
    """To rounding, in float64; the predictions of each character too."""
    from charrnn.corpus import Records

    model, params = networks.network("lstm", layers=2)
    ids = np.random.default_rng(0).integers(0, networks.V, 5000)
    one, other = (Evaluator(model, params, Team(threads)) for threads in (1, 3))
    if mode == "pieces":
        assert one.pieces(ids).total_nats == pytest.approx(other.pieces(ids).total_nats, abs=1e-8)
        return
    starts = np.arange(1, 5000, 7)
    records, which = Records(ids, starts), np.arange(len(starts) - 1)
    figures = [evaluator.each(records, which, PREDICTION) for evaluator in (one, other)]
    np.testing.assert_allclose(*figures, atol=1e-10)


def test_a_batch_gives_some_of_its_rows():
    """With their targets and mask."""
    batch = networks.batch(B=ROWS, masked=True)
    part = batch.rows(slice(2, 5))
    assert isinstance(part, Batch)
    for one, other in zip(part[:3], batch[:3], strict=True):
        np.testing.assert_array_equal(one, other[:, 2:5])


def test_the_same_seed_and_threads_give_the_same_bytes(charrnn, config, tmp_path, monkeypatch):
    """Two threads, twice, with dropout; one thread gives others."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    path = config(model={"dropout": 0.3, "cell": "gru"}, train={"batch_size": 4})
    found = []
    for number, threads in enumerate((2, 2, 1)):
        out = tmp_path / f"run{number}.npz"
        assert charrnn("train", path, "--threads", threads, "--out", out, "-q").exit_code == 0
        with np.load(out) as arrays:
            found.append(arrays["Why"].tobytes())
    assert found[0] == found[1] != found[2]
