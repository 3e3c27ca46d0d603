"""A chip as a module: wanted values are parameters, cells are cells, a write joins them."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from madem.device import Cell
from madem.errors import InputError
from madem.learn import Equilibrium, Measured, RelativeMove, centred
from madem.machine import FastSlow, Periphery, SignedPair, Simulated, verified
from madem.machine.writing import single_pulse
from madem.network import Box, Dense, Free, Layer, Network, Readout
from madem.randomness import stream
from madem.solver import Sweep

UNIT = 400e-6


def pair(cell: Cell, *shape: int, seed: int = 0) -> SignedPair:
    weight = 0.2 * torch.randn(shape, generator=stream(seed, "weight", *shape))
    return SignedPair(cell, weight, UNIT, 20e-6, stream(seed, "cells", *shape),
                      stream(seed, "writes", *shape), verified)  # fmt: skip


def chip(cell: Cell, seed: int = 0, layers: int = 1, bits: int | None = None) -> Equilibrium:
    """Two chips of one layer, 6 to 3, or of two with a hidden layer of 4."""
    units = (6, 3) if layers == 1 else (6, 4, 3)
    network = Network(units[0], (*(Layer(n, Box(0.0, 1.0)) for n in units[1:-1]),
                                 Layer(units[-1], Readout())))  # fmt: skip
    stores = [pair(cell, 2, *shape, seed=seed) for shape in network.shapes]
    machine = Simulated(network, Sweep(), stores, Periphery(bits, bits), stream(seed, "noise"))
    return Equilibrium(machine)


def store(module: Equilibrium) -> SignedPair:
    held = module.machine.stores[0]
    assert isinstance(held, SignedPair)
    return held


def batch(samples: int = 8) -> Tensor:
    return torch.rand(2, samples, 6, generator=stream(0, "x"))


def step(module: Equilibrium, rate: float = 0.1) -> torch.optim.Optimizer:
    """One step of an optimiser, not committed."""
    optimiser = torch.optim.SGD(module.parameters(), rate)
    optimiser.zero_grad()
    (module(batch()) - 0.5).square().mean().backward()
    optimiser.step()
    return optimiser


def test_the_parameter_is_not_the_weight(cell: Cell) -> None:
    module = chip(cell)
    (p,) = module.parameters()
    assert torch.equal(p, store(module).weight)
    assert p.untyped_storage().data_ptr() != store(module).weight.untyped_storage().data_ptr()


def test_only_a_commit_writes_cells_and_it_does_so_as_the_store_can(cell: Cell) -> None:
    module, other = chip(cell), chip(cell)
    held, cells, weight = store(module), store(module).cells.clone(), store(module).weight.clone()
    step(module)
    (p,) = module.parameters()
    wanted = p.detach().clone()
    assert torch.equal(held.cells, cells)
    assert torch.equal(held.weight, weight)
    module.commit()
    assert not torch.equal(held.cells, cells)
    # as the store itself writes that change
    store(other).write([wanted - weight])
    assert torch.equal(held.cells, store(other).cells)
    # what the cells hold is what computes, and becomes the parameter, errors and all
    torch.testing.assert_close(held.weight, (held.cells[0] - held.cells[1]) / UNIT)
    assert torch.equal(p, held.weight)
    error = (p.detach() - wanted).std()
    assert 0.2 * cell.error_sigma / UNIT < error < 5 * cell.error_sigma / UNIT


def test_training_a_chip_lowers_the_cost_that_its_cells_have(cell: Cell) -> None:
    module = chip(cell)
    x = batch(32)
    target = (x[..., :3] > 0.5).float()
    optimiser = torch.optim.SGD(module.parameters(), 1.0)
    before = store(module).cells.clone()

    def cost_of_cells() -> float:
        weight = (store(module).cells[0] - store(module).cells[1]) / UNIT
        y = x @ weight[..., :-1].mT + weight[..., None, :, -1]
        return float((y - target).square().mean())

    first = cost_of_cells()
    for _ in range(40):
        optimiser.zero_grad()
        (module(x) - target).square().mean().backward()
        optimiser.step()
        module.commit()
    assert cost_of_cells() < 0.5 * first
    moved = (store(module).cells - before).abs() > 1e-6
    assert moved.float().mean() > 0.2


def test_without_a_commit_the_old_cells_compute_and_one_warning_says_so(ideal_cell: Cell) -> None:
    module = chip(ideal_cell)
    before = module(batch())
    step(module)
    with pytest.warns(RuntimeWarning, match="settles with what its cells hold, until commit"):
        again = module(batch())
    assert torch.equal(before, again)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module(batch())
    module.commit()
    assert not torch.equal(before, module(batch()))


def test_nobody_is_warned_who_commits_or_changed_nothing(cell: Cell) -> None:
    module = chip(cell)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for threshold in (0.0, 0.01):
            step(module)
            module.commit(threshold)
            module(batch())
        (p,) = module.parameters()
        with torch.no_grad():
            p.copy_(p.clone())  # as distributed training does
        module(batch())


def test_a_threshold_leaves_small_changes_in_the_digital_parameter(cell: Cell) -> None:
    module = chip(cell)
    held, (p,) = store(module), module.parameters()
    start, cells = held.weight.clone(), held.cells.clone()
    with torch.no_grad():
        p[0, 0, 0] += 0.03
        p[1, 2, 6] += 0.004
    module.commit(threshold=0.01)
    assert not torch.equal(held.cells[:, 0, 0, 0], cells[:, 0, 0, 0])
    assert torch.equal(held.cells[:, 1], cells[:, 1])
    now = p.detach()
    assert float(now[0, 0, 0]) == float(held.weight[0, 0, 0])
    assert float(now[1, 2, 6] - start[1, 2, 6]) == pytest.approx(0.004, abs=1e-7)
    for _ in range(2):
        with torch.no_grad():
            p[1, 2, 6] += 0.004
        module.commit(threshold=0.01)
    assert not torch.equal(held.cells[:, 1, 2, 6], cells[:, 1, 2, 6])
    assert float(p.detach()[1, 2, 6]) == float(held.weight[1, 2, 6])


def test_what_cannot_be_committed_writes_nothing(cell: Cell) -> None:
    module = chip(cell)
    cells = store(module).cells.clone()
    with pytest.raises(InputError, match="threshold must be zero or positive, but is nan"):
        module.commit(float("nan"))
    with torch.no_grad():
        next(module.parameters())[0, 0, 0] = float("nan")
    with pytest.raises(InputError, match=r"parameter \w+ holds NaN or infinity: nothing was"):
        module.commit()
    assert torch.equal(store(module).cells, cells)


def test_a_chip_written_between_forward_and_backward_is_refused(cell: Cell) -> None:
    module = chip(cell)
    cost = module(batch()).sum()
    store(module).write([torch.full((2, 3, 7), 0.1)])
    with pytest.raises(RuntimeError, match="cells of the chip were written between forward"):
        cost.backward()
    cost = module(batch()).sum()
    module.load_state_dict(module.state_dict())
    with pytest.raises(RuntimeError, match="written between|modified by an inplace operation"):
        cost.backward()


def test_gradients_and_commits_of_two_arrays_a_coupling(cell: Cell) -> None:
    arrays = FastSlow(pair(cell, 3, 7), pair(cell, 3, 7, seed=1), 1, 0.5, 0.001)
    module = Equilibrium(Simulated(Network(6, (Layer(3, Readout()),)), Sweep(), [arrays]))
    fast, slow = arrays.fast.cells.clone(), arrays.pairs.cells.clone()
    optimiser = torch.optim.SGD(module.parameters(), 0.5)
    for _ in range(14):
        optimiser.zero_grad()
        (module(batch()[0]) - 1).square().mean().backward()
        optimiser.step()
        module.commit()
    assert not torch.equal(fast, arrays.fast.cells)
    assert not torch.equal(slow, arrays.pairs.cells)
    assert torch.equal(next(module.parameters()), arrays.pairs.weight)


def test_numbers_and_cells_in_one_machine(cell: Cell) -> None:
    network = Network(6, (Layer(4, Box(0.0, 1.0)), Layer(3, Free())))
    ideal = Simulated.ideal(network, network.initial(stream(0)))
    machine = Simulated(network, Sweep(), [ideal.stores[0], pair(cell, 3, 5)])
    machine.stores[1].fluctuation = 0.0  # type: ignore[misc]
    module = Equilibrium(machine)
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    (module(batch()[0]) - 1).square().mean().backward()
    optimiser.step()
    wanted = [p.detach().clone() for p in module.parameters()]
    module.commit()
    left = list(module.parameters())
    assert torch.equal(left[0], wanted[0])
    assert torch.equal(machine.stores[0].parameters[0], wanted[0])
    assert not torch.equal(left[-1], wanted[-1])
    assert torch.equal(left[-1], machine.stores[1].parameters[0])


def run(module: Equilibrium, optimiser: torch.optim.Optimizer, steps: int) -> list[Tensor]:
    seen = []
    for _ in range(steps):
        optimiser.zero_grad()
        y = module(batch())
        (y - 0.5).square().mean().backward()
        optimiser.step()
        module.commit(0.002)
        seen += [y.detach(), *(s.cells.clone() for s in module.machine.stores)]  # type: ignore[attr-defined]
    return seen


@pytest.mark.parametrize("how", ["state dict", "file", "pickle", "deepcopy"])
def test_a_reloaded_chip_goes_on_bit_for_bit(cell: Cell, how: str) -> None:
    module = chip(cell, layers=2, bits=8)
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    run(module, optimiser, 2)
    other = chip(cell, seed=5, layers=2, bits=8)
    if how == "state dict":
        other.load_state_dict(module.state_dict())
    elif how == "file":
        file = io.BytesIO()
        torch.save(module.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
    else:
        other = pickle.loads(pickle.dumps(module)) if how == "pickle" else copy.deepcopy(module)
    again = torch.optim.SGD(other.parameters(), 0.1)
    for ours, theirs in zip(run(module, optimiser, 3), run(other, again, 3), strict=True):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_of_another_chip_is_refused_and_nothing_has_changed(cell: Cell) -> None:
    other, before = chip(cell, seed=1), chip(cell, seed=1)
    coarse = chip(replace(cell, read_sigma=2e-6))
    step(coarse)
    with pytest.raises(InputError, match=r"of another chip: its cell.read_sigma is 2e-06, but"):
        other.load_state_dict(coarse.state_dict())
    with pytest.raises(InputError, match="as many parameters|of another"):
        other.load_state_dict(chip(cell, layers=2).state_dict())
    with pytest.raises(RuntimeError, match=r"Missing key.*chip._extra_state"):
        other.load_state_dict({n: p.detach() for n, p in other.named_parameters()})
    assert torch.equal(store(other).cells, store(before).cells)
    assert torch.equal(next(other.parameters()), next(before.parameters()))


def test_a_chip_moves_to_double_precision_and_back_with_its_cells(cell: Cell) -> None:
    module, x = chip(cell, layers=2, bits=8).double(), batch().double()
    assert all(s.cells.dtype == torch.float64 for s in module.machine.stores)  # type: ignore[attr-defined]
    module(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float64 for p in module.parameters())
    cells = store(module).cells.clone()
    with torch.no_grad():
        next(module.parameters()).add_(0.1)
    module.commit()
    assert not torch.equal(cells, store(module).cells)
    assert store(module).cells.dtype == torch.float64
    assert module.float()(batch()).dtype == torch.float32


def test_what_a_nudge_has_measured_is_kept_with_the_chip(cell: Cell) -> None:
    first, second = (
        Equilibrium(chip(cell, layers=2).machine, centred(Measured(every=5))) for _ in range(2)
    )
    for _ in range(3):
        step(first).step()
        first.commit()
    held = first.state_dict()
    second.load_state_dict({k: v.clone() if isinstance(v, Tensor) else v for k, v in held.items()})
    beta = second.estimator.beta
    assert isinstance(beta, Measured)
    assert beta.memory.held.tolist() == first.estimator.beta.memory.held.tolist()  # type: ignore[union-attr]
    for module in (first, second):
        step(module)
        module.commit()
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("way", ["half", "bfloat16"])
def test_types_in_which_conductances_vanish_are_refused(cell: Cell, way: str) -> None:
    module = chip(cell)
    with pytest.raises(InputError, match="need float32 or float64, not torch"):
        getattr(module, way)()
    assert next(module.parameters()).dtype == store(module).cells.dtype == torch.float32
    module(batch())


def test_a_chip_is_nudged_by_a_current_of_order_one(cell: Cell, ideal_cell: Cell) -> None:
    assert chip(cell).estimator == centred(1.0)
    assert chip(ideal_cell, bits=8).estimator == centred(1.0)
    assert chip(ideal_cell).estimator == centred(RelativeMove())
    machine = chip(cell).machine
    module = Equilibrium(machine, centred(RelativeMove()))
    with pytest.raises(InputError, match="lost in the noise or the converters"):
        module(batch()).sum().backward()


def test_the_default_nudge_finds_the_gradient_through_read_noise(cell: Cell) -> None:
    """The cosine with the exact gradient; at a nudge of 1e-3 there is nothing but noise."""
    noisy = replace(cell, read_sigma=0.005 * UNIT / 2**0.5, error_sigma=0.0, stuck_fraction=0.0)
    x = torch.rand(2, 400, 6, generator=stream(3, "x"))
    slope = torch.randn(2, 400, 3, generator=stream(3, "slope")) + 1.0
    machine = chip(noisy, layers=2).machine
    first, second = (p.detach().requires_grad_() for p in machine.parameters)
    hidden = (x @ first[..., :-1].mT + first[..., None, :, -1]).clamp(0, 1)
    (hidden @ second[..., :-1].mT * slope).sum().backward()
    cosines = []
    for estimator in (None, centred(1e-3)):
        module = Equilibrium(machine, estimator)
        (module(x) * slope).sum().backward()
        found, exact = next(module.parameters()).grad, first.grad
        assert found is not None
        assert exact is not None
        cosines.append(float(torch.cosine_similarity(found.flatten(), exact.flatten(), 0)))
    assert cosines[0] > 0.97
    assert cosines[1] < 0.7


def test_ranks_draw_noise_of_their_own_and_their_cells_stay_the_same(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, cells, resumed = [], [], []
    alone = chip(cell)(batch()).detach()
    for rank in range(3):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda *_: rank)  # noqa: B023
        module = chip(cell)
        seen.append(module(batch()).detach())
        with torch.no_grad():
            next(module.parameters()).add_(0.1)
        module.commit()
        cells.append(store(module).cells)
        other = chip(cell, seed=1)
        other.load_state_dict(module.state_dict())
        resumed.append((module(batch()).detach(), other(batch()).detach()))
    assert torch.equal(seen[0], alone)
    assert not any(torch.equal(seen[i], seen[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert torch.equal(cells[0], cells[1])
    assert all(torch.equal(ours, theirs) for ours, theirs in resumed)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda *_: 0)
    first = chip(cell)
    first(batch())
    state = copy.deepcopy(first.state_dict())
    others = [first(batch()).detach()]
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda *_: rank)  # noqa: B023
        module = chip(cell)
        module.load_state_dict(state)
        others.append(module(batch()).detach())
    assert torch.equal(others[0], others[1])
    assert not torch.equal(others[1], others[2])


def test_an_empty_batch_of_chips(cell: Cell) -> None:
    module = chip(cell, layers=2, bits=8)
    x = torch.zeros(2, 0, 6, requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert y.shape == (2, 0, 3)
    assert x.grad is not None
    assert x.grad.shape == (2, 0, 6)
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


def test_a_pruned_chip_is_written_what_the_mask_leaves(ideal_cell: Cell) -> None:
    module = chip(ideal_cell)
    (label,) = (name for name, _ in module.named_parameters())
    prune.l1_unstructured(module, label, 0.5)  # type: ignore[no-untyped-call]
    module.commit()
    mask = getattr(module, f"{label}_mask") > 0
    held = store(module).weight
    assert float(held[~mask].abs().max()) < 1e-6
    kept = getattr(module, f"{label}_orig").detach()
    assert float((held - kept)[mask].abs().max()) < 1e-6
    module(batch()).square().sum().backward()
    slope = getattr(module, f"{label}_orig").grad
    assert bool((slope[~mask] == 0).all())
    assert bool(slope[mask].any())


def test_a_normalised_chip_learns_by_what_is_computed_from_its_parameters(cell: Cell) -> None:
    module = chip(cell)
    (label,) = module.labels
    parametrizations.weight_norm(module, label, dim=1)
    cells = store(module).cells.clone()
    step(module)  # without a warning: nothing has changed yet
    module.commit()
    assert not torch.equal(cells, store(module).cells)
    wanted, held = getattr(module, label).detach(), store(module).weight
    assert float((wanted - held).std()) < 3 * cell.error_sigma / UNIT


def test_frozen_cells_are_neither_given_a_gradient_nor_written(cell: Cell) -> None:
    module = chip(cell, layers=2)
    first, second = module.parameters()
    first.requires_grad_(False)
    cells = [s.cells.clone() for s in module.machine.stores]  # type: ignore[attr-defined]
    step(module)
    module.commit()
    assert first.grad is None
    assert second.grad is not None
    now = [s.cells for s in module.machine.stores]  # type: ignore[attr-defined]
    assert torch.equal(now[0], cells[0])
    assert not torch.equal(now[1], cells[1])


def test_a_chain_of_chips_and_digital_layers_saves_and_moves_whole(cell: Cell) -> None:
    single = Simulated(Network(6, (Layer(3, Readout()),)), Sweep(), [pair(cell, 3, 7)],
                       noise=stream(0, "noise"))  # fmt: skip
    chain = nn.Sequential(nn.Linear(6, 6), Equilibrium(single), nn.LayerNorm(3))
    again = copy.deepcopy(chain).double()
    assert again(batch()[0].double()).dtype == torch.float64
    again.float().load_state_dict(chain.state_dict())
    assert torch.equal(again(batch()[0]), chain(batch()[0]))
    assert "1.chip._extra_state" in chain.state_dict()
    assert isinstance(single.network.joints[0], Dense)


def test_its_representation_tells_of_cells(cell: Cell) -> None:
    text = repr(chip(cell))
    for part in ("6 -> 3 Readout", "SignedPair", "cells=84", "centred(1.0)"):
        assert part in text


def test_pulses_one_by_one_move_a_chip_too(cell: Cell) -> None:
    module = chip(cell)
    store(module).writing = single_pulse
    cells = store(module).cells.clone()
    step(module)
    module.commit()
    moved = (store(module).cells - cells).abs()
    assert 0 < float(moved.max()) < 3 * cell.pulse_step


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("asked.0", torch.zeros(1)),
        ("rank", torch.zeros(2, dtype=torch.int64)),
        ("rank", 3),
        ("machine.noise", "abc"),
        (None, [1]),
        (None, None),
    ],
)
def test_an_odd_state_of_a_chip_is_refused_and_changes_nothing(
    cell: Cell, name: str | None, value: Any
) -> None:
    module = chip(cell)
    held = module.state_dict()
    before = copy.deepcopy(held)
    state = dict(held["chip._extra_state"])
    odd = value if name is None else {**state, name: value}
    with pytest.raises(InputError, match="the state"):
        module.load_state_dict({**held, "chip._extra_state": odd})
    after = module.state_dict()["chip._extra_state"]
    for key, tensor in before["chip._extra_state"].items():
        assert torch.equal(after[key], tensor), key
