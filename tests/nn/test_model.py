"""The loss and its gradients, compared with finite differences and with the textbook loop."""

import math

import min_char_rnn
import networks
import numpy as np
import pytest

from charrnn.arrays import Batch
from charrnn.nn import gradcheck
from charrnn.nn.cells import CELLS
from charrnn.nn.initialization import initialize
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import MAX_WORKSPACES, Workspace, Workspaces
from charrnn.rng import Purpose, generator

every_depth = pytest.mark.parametrize("layers", [1, 2])
every_output = pytest.mark.parametrize("outputs", ["top", "all"])
every_cell = pytest.mark.parametrize("cell", CELLS)


@every_cell
@pytest.mark.parametrize(("layers", "outputs"), [(1, "top"), (2, "top"), (2, "all"), (3, "all")])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "dropout",
    [{}, {"dropout": 0.4}, {"dropout": 0.4, "variational": True, "recurrent_dropout": 0.3}],
)
def test_backward_agrees_with_finite_differences(cell, layers, outputs, masked, dropout):
    """The gradients of all parameters and of the initial state agree with finite differences."""
    model, params = networks.network(cell, layers, outputs=outputs)
    batch = networks.batch(masked=masked)
    work = Workspace(model, networks.T, networks.B)
    if dropout:
        work.draw_dropout(np.random.PCG64(3), **dropout)
    rows = gradcheck.check(model, params, batch, networks.nonzero_state(model), work)
    assert [row.name for row in rows] == [*params, gradcheck.STATE]
    assert all(row.passed for row in rows), rows
    assert all(row.checked == math.prod(row.shape) for row in rows)


@pytest.mark.parametrize("array", ["layer0.Wxh", "layer0.Whh", "layer0.bh", "Why", "by"])
def test_the_checker_rejects_a_gradient_that_is_wrong_by_a_thousandth(array, monkeypatch):
    """The gradient check rejects an array that is wrong by a thousandth, and only that array."""
    model, params = networks.network()
    backward = model.backward

    def wrong_backward(params, batch, work, grads, scale=1.0):
        dstate = backward(params, batch, work, grads, scale)
        grads[array][...] *= 1.001
        return dstate

    monkeypatch.setattr(model, "backward", wrong_backward)
    work = Workspace(model, networks.T, networks.B)
    rows = gradcheck.check(model, params, networks.batch(), networks.nonzero_state(model), work)
    assert {row.name for row in rows if not row.passed} == {array}


def test_the_checker_rejects_a_state_gradient_that_is_wrong(monkeypatch):
    """The gradient check rejects a wrong gradient of the initial state."""
    model, params = networks.network()
    backward = model.backward
    monkeypatch.setattr(model, "backward", lambda *arguments: backward(*arguments) * 1.001)
    work = Workspace(model, networks.T, networks.B)
    rows = gradcheck.check(model, params, networks.batch(), networks.nonzero_state(model), work)
    assert [row.name for row in rows if not row.passed] == [gradcheck.STATE]


def test_one_row_equals_the_textbook_loop():
    """A batch of one row has the loss, gradients and last state of the textbook loop, to 1e-10."""
    weights = {name: 50 * array for name, array in min_char_rnn.init(7, 5, seed=3).items()}
    model, params = networks.from_textbook(weights)
    batch = networks.batch(B=1)
    hprev = np.random.default_rng(4).normal(size=(5, 1))
    expected, dweights, hs = min_char_rnn.loss_and_gradients(
        weights, batch.ids[:, 0].tolist(), batch.targets[:, 0].tolist(), hprev
    )
    state = hprev.reshape(model.state_shape(1))
    loss, grads, dstate, new_state = networks.gradients(model, params, batch, state)
    assert loss == pytest.approx(expected, abs=1e-10)
    for name, textbook_name in networks.TEXTBOOK_NAMES.items():
        gradient = dweights[textbook_name].T.reshape(grads[name].shape)
        np.testing.assert_allclose(grads[name], gradient, rtol=0, atol=1e-10)
    np.testing.assert_allclose(dstate.reshape(-1), dweights["hprev"][:, 0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(new_state.reshape(-1), hs[:, 0], rtol=0, atol=1e-10)


@every_output
@every_cell
def test_the_output_reads_the_layers_of_the_setting(cell, outputs):
    """The logits are the product of the hidden states of the top layer, or of all, with Why."""
    model, params = networks.network(cell, layers=3, outputs=outputs)
    work, state = Workspace(model, networks.T, networks.B), networks.nonzero_state(model)
    model.run(params, networks.batch().ids, state, work)
    layers = [layer.hs_flat for layer in work.layers]
    hs = np.concatenate(layers if outputs == "all" else layers[-1:], axis=1)
    np.testing.assert_allclose(work.logits, hs @ params["Why"] + params["by"], rtol=0, atol=1e-12)


@every_cell
@every_depth
def test_a_batch_is_the_mean_of_its_rows(cell, layers):
    """The loss and gradients of a batch are the means of those of its rows."""
    model, params = networks.network(cell, layers)
    batch, state = networks.batch(), networks.nonzero_state(model)
    loss, grads, _, new_state = networks.gradients(model, params, batch, state)
    row_results = [
        networks.gradients(
            model,
            params,
            Batch(batch.ids[:, b : b + 1], batch.targets[:, b : b + 1]),
            np.ascontiguousarray(state[:, :, b : b + 1]),
        )
        for b in range(networks.B)
    ]
    losses, row_grads, _, row_states = zip(*row_results, strict=True)
    assert loss == pytest.approx(np.mean(losses), abs=1e-12)
    flat = np.mean([row.flat for row in row_grads], axis=0)
    np.testing.assert_allclose(grads.flat, flat, rtol=0, atol=1e-12)
    np.testing.assert_allclose(new_state, np.concatenate(row_states, axis=2), rtol=0, atol=1e-12)


@every_cell
@every_depth
def test_a_padded_batch_equals_its_records_one_by_one(cell, layers):
    """A padded batch has the mean loss and the mean gradients of its records."""
    model, params = networks.network(cell, layers)
    batch = networks.batch(masked=True)
    loss, grads, _, _ = networks.gradients(model, params, batch, model.zero_state(networks.B))
    losses, flats = [], []
    for b in range(networks.B):
        length = networks.T - b
        record = Batch(batch.ids[:length, b : b + 1], batch.targets[:length, b : b + 1])
        zero_state = model.zero_state(1)
        record_loss, record_grads, _, _ = networks.gradients(model, params, record, zero_state)
        losses.append(record_loss)
        flats.append(record_grads.flat)
    assert loss == pytest.approx(np.mean(losses), abs=1e-12)
    np.testing.assert_allclose(grads.flat, np.mean(flats, axis=0), rtol=0, atol=1e-12)


@every_cell
@every_depth
def test_a_run_in_chunks_with_carried_state_equals_one_run(cell, layers):
    """Windows with carried state have the total loss and the last state of one long window."""
    model, params = networks.network(cell, layers)
    batch, state = networks.batch(T=12), networks.nonzero_state(model)
    loss, _, _, last = networks.gradients(model, params, batch, state)
    total = 0.0
    for steps in (slice(0, 5), slice(5, 6), slice(6, 12)):
        window = Batch(batch.ids[steps], batch.targets[steps])
        window_loss, _, _, state = networks.gradients(model, params, window, state)
        total += window_loss
    assert total == pytest.approx(loss, abs=1e-12)
    np.testing.assert_allclose(state, last, rtol=0, atol=1e-12)


def test_the_mean_reduction_divides_the_gradient_by_the_characters():
    """The mean reduction only scales the gradients, by the rows over the characters."""
    model, params = networks.network()
    batch, state = networks.batch(masked=True), model.zero_state(networks.B)
    _, grads, _, _ = networks.gradients(model, params, batch, state)
    scale = networks.B / batch.chars
    _, scaled, _, _ = networks.gradients(model, params, batch, state, scale)
    np.testing.assert_allclose(scaled.flat, grads.flat * scale, rtol=1e-10, atol=1e-15)


@every_cell
@every_depth
def test_the_first_loss_is_that_of_guessing(cell, layers):
    """An untrained model has a loss of about ln V nats per character, that of guessing."""
    model, _ = networks.network(cell, layers, hidden=32, vocab_size=65)
    params = initialize(model, None, generator(1, Purpose.WEIGHTS))
    batch = networks.batch(T=25, vocab_size=65)
    loss, _, _, _ = networks.gradients(model, params, batch, model.zero_state(networks.B))
    assert loss / 25 == pytest.approx(math.log(65), abs=0.05)


@every_cell
@every_depth
def test_state_matters(cell, layers):
    """The same character after different histories gets different probabilities."""
    model, params = networks.network(cell, layers)
    ids = np.array([[1, 2], [3, 3]])  # (T, B): row 0 reads 1 3, row 1 reads 2 3
    work = Workspace(model, 2, 2)
    model.run(params, ids, model.zero_state(2), work)
    assert np.abs(work.logits[2] - work.logits[3]).max() > 1e-3
    batch = Batch(ids, ids)
    assert (
        gradcheck.state_matters(model, params, batch, networks.nonzero_state(model, 2), work) > 1e-3
    )


@every_cell
def test_a_forward_leaves_its_initial_state_unchanged(cell):
    """A forward leaves its initial state unchanged, and returns the same result every time."""
    model, params = networks.network(cell)
    batch, state = networks.batch(), networks.nonzero_state(model)
    before = state.copy()
    work = Workspace(model, networks.T, networks.B)
    first, new_state = model.forward(params, batch, state, work)
    copy = new_state.copy()
    second, _ = model.forward(params, batch, state, work)
    assert first == second
    assert (state == before).all()
    assert (new_state == copy).all()


@every_depth
def test_dropout_drops_its_share_and_keeps_the_mean(layers):
    """Dropout drops its share of every layer's outputs and scales up the rest."""
    model, params = networks.network("lstm", layers, hidden=50)
    work = Workspace(model, 40, 10)
    work.draw_dropout(np.random.PCG64(0), 0.3)
    assert len(work.output_masks) == layers
    for mask in work.output_masks:
        assert set(np.unique(mask)) == {0.0, 1 / 0.7}
        assert (mask == 0).mean() == pytest.approx(0.3, abs=0.01)
    model.run(params, networks.batch(40, 10).ids, model.zero_state(10), work)
    for layer, mask, output in zip(work.layers, work.output_masks, work.layer_outputs, strict=True):
        np.testing.assert_array_equal(output, layer.hs_flat * mask.reshape(output.shape))
    before = work.output_masks[0].copy()
    work.draw_dropout(np.random.PCG64(1), 0.3)
    assert (work.output_masks[0] != before).any()


def test_variational_dropout_drops_the_same_units_at_every_step():
    """Variational dropout drops the same units at every step, and different ones in each row."""
    model, params = networks.network("gru", hidden=50)
    work = Workspace(model, 40, 10)
    work.draw_dropout(np.random.PCG64(0), 0.3, variational=True)
    model.run(params, networks.batch(40, 10).ids, model.zero_state(10), work)
    work.outputs_after_dropout(0)
    dropped = (work.layer_outputs[0] == 0).reshape(40, 10, 50)
    assert (dropped == dropped[0]).all()
    assert dropped[0].mean() == pytest.approx(0.3, abs=0.05)
    assert len({row.tobytes() for row in dropped[0]}) == 10


@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("T", [4, 7])  # 7 steps of 23 units do not fill whole words
def test_a_row_has_the_same_masks_wherever_it_is_computed(variational, T):
    """Rows computed alone have the dropout masks that they have in the full batch."""
    model, _ = networks.network("gru", layers=2, hidden=23)
    full, part = Workspace(model, T, 9), Workspace(model, T, 4)
    for work, first_row in ((full, 0), (part, 3)):
        work.draw_dropout(
            np.random.PCG64(5), 0.3, variational, recurrent_dropout=0.2, first_row=first_row
        )
    for mask, part_mask in zip(full.output_masks, part.output_masks, strict=True):
        np.testing.assert_array_equal(part_mask, mask[:, 3:7])
        assert len({row.tobytes() for row in mask.transpose(1, 0, 2)}) == 9
    for mask, part_mask in zip(full.recurrent_masks, part.recurrent_masks, strict=True):
        np.testing.assert_array_equal(part_mask, mask)


def test_recurrent_dropout_masks_the_recurrent_weights():
    """A window with recurrent dropout has the loss of a network with Whh times the mask."""
    model, params = networks.network("lstm", hidden=30)
    batch, state = networks.batch(), model.zero_state(networks.B)
    work = Workspace(model, networks.T, networks.B)
    work.draw_dropout(np.random.PCG64(0), 0.0, recurrent_dropout=0.25)
    loss, _ = model.forward(params, batch, state, work)
    (mask,) = work.recurrent_masks
    assert set(np.unique(mask)) == {0.0, 1 / 0.75}
    assert (mask == 0).mean() == pytest.approx(0.25, abs=0.03)
    masked = params.copy()
    masked["layer0.Whh"][...] *= mask
    assert networks.gradients(model, masked, batch, state)[0] == loss


def test_huge_logits_stay_finite():
    """Huge logits give a finite loss and finite gradients, because the largest is subtracted."""
    model, params = networks.network()
    params["by"][...] = [0, 1e4, -1e4, 0, 0, 0, 0]
    batch = networks.batch()
    loss, grads, _, _ = networks.gradients(model, params, batch, model.zero_state(networks.B))
    assert math.isfinite(loss)
    assert loss > 1e4  # not limited to the log of the smallest float
    assert np.isfinite(grads.flat).all()


def test_workspaces_of_all_sizes_share_memory_and_agree():
    """Workspaces of all sizes share memory, and a result does not depend on earlier windows."""
    model, params = networks.network("rnn", layers=2)
    works = Workspaces(model)
    for T, B in [(6, 3), (2, 1), (9, 4), (6, 3), (1, 5)]:
        batch, state = networks.batch(T, B, seed=T), networks.nonzero_state(model, B)
        grads = params.zeros_like()
        work = works.get(T, B)
        loss, _ = model.forward(params, batch, state, work)
        model.backward(params, batch, work, grads)
        expected_loss, expected_grads, _, _ = networks.gradients(model, params, batch, state)
        assert loss == expected_loss
        assert (grads.flat == expected_grads.flat).all()
    assert np.shares_memory(works.get(1, 5).logits, works.get(6, 3).logits)


def test_a_second_backward_without_a_forward_is_an_error():
    """A backward without a forward pass before it raises an error, also after `run`."""
    model, params = networks.network()
    batch, state, grads = networks.batch(), networks.nonzero_state(model), params.zeros_like()
    work = Workspaces(model).get(*batch.ids.shape)
    model.forward(params, batch, state, work)
    model.backward(params, batch, work, grads)
    with pytest.raises(RuntimeError, match="backward has no forward pass"):
        model.backward(params, batch, work, grads)
    model.forward(params, batch, state, work)
    model.run(params, batch.ids, state, work)
    with pytest.raises(RuntimeError, match="backward has no forward pass"):
        model.backward(params, batch, work, grads)


def test_the_number_of_workspaces_is_limited():
    """Only MAX_WORKSPACES sizes are kept, however many are requested."""
    works = Workspaces(networks.network()[0])
    for T in range(1, 3 * MAX_WORKSPACES):
        assert (works.get(T, 2).T, works.get(T, 2).B) == (T, 2)
        assert len(works._workspaces) <= MAX_WORKSPACES


def test_params_are_named_views_of_one_vector():
    """A parameter is a view of the flat vector, and a copy has a vector of its own."""
    params = Params({"a": (2, 3), "b": (4,)}, "float32")
    params["b"][...] = 1
    assert params.flat.tolist() == [0] * 6 + [1] * 4
    assert params.copy().flat.tolist() == params.flat.tolist()
    assert not np.shares_memory(params.copy().flat, params.flat)
