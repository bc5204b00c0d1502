"""Rows that are shared: the same loss, the same gradient, and always the same bytes."""

import networks
import numpy as np
import pytest

from charrnn.arrays import Batch
from charrnn.evaluation.evaluator import PREDICTION, Evaluator
from charrnn.nn.model import Model
from charrnn.parallel.team import Team
from charrnn.parallel.workers import Workers

ROWS = 7
by_processes_and_threads = pytest.mark.parametrize("processes", [True, False])


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("size", "processes"), [(2, True), (9, True), (3, False), (7, False)])
def test_the_sum_of_the_shares_is_the_whole(cell, masked, size, processes):
    """Loss, gradient and new state, in float64 to 1e-12, also with more shares than rows."""
    model, params = networks.network(cell, layers=2)
    params = params.copy(shared=True)
    batch, state = networks.batch(B=ROWS, masked=masked), networks.state_of(model, ROWS)
    results = []
    for team in (Team(1), Team(size, processes)):
        workers, grads = Workers(model, params, team, seed=1), params.zeros_like()
        loss, new_state = workers.forward(batch, state, step=5)
        workers.backward(grads, 0.7)
        results.append((loss, grads.flat, new_state))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-12)


@by_processes_and_threads
@pytest.mark.parametrize("variational", [False, True])
def test_each_drops_by_step_and_place_alone(variational, processes):
    """So the same run gives the same bytes, whatever was computed before."""
    sizes = (networks.V, "gru", networks.H, 2, "float64")
    model = Model(*sizes, dropout=0.4, variational=variational, recurrent_dropout=0.3)
    params = networks.network("gru", layers=2)[1].copy(shared=True)
    batch, state = networks.batch(B=ROWS), networks.state_of(model, ROWS)

    def gradient(step, before=()):
        workers, grads = Workers(model, params, Team(2, processes), seed=1), params.zeros_like()
        for other in before:
            workers.forward(networks.batch(T=other, B=ROWS), state, step=other)
        workers.forward(batch, state, step)
        workers.backward(grads)
        return grads.flat.tobytes()

    assert gradient(5) == gradient(5, before=(9, 2))
    assert gradient(5) != gradient(6)


@by_processes_and_threads
@pytest.mark.parametrize("mode", ["pieces", "records"])
def test_scores_do_not_depend_on_who_shares_them(mode, processes):
    """To rounding, in float64; the predictions of each character too."""
    from charrnn.data.corpus import Records

    model, params = networks.network("lstm", layers=2)
    ids = np.random.default_rng(0).integers(0, networks.V, 20_000)
    one, other = (Evaluator(model, params, Team(size, processes)) for size in (1, 3))
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
