"""Pairs of cells beside what they were asked to hold: the cells compute, a model sees the rest."""

from __future__ import annotations

import torch

from madem.device import load
from madem.machine import Asked, SignedPair, verified
from madem.network import Dense, Matrix
from madem.randomness import stream


def store(absolute: bool, seed: int = 0) -> Asked:
    weight = torch.full((2, 3, 5), 0.1)
    streams = stream(seed, "cells"), stream(seed, "writes")
    pairs = SignedPair(load("taox-1t1m"), weight, 200e-6, 20e-6, *streams, verified)
    return Asked(pairs, weight, absolute)


def test_cells_compute_and_what_was_asked_is_seen() -> None:
    held = store(absolute=False)
    assert torch.equal(held.parameters[0], torch.full((2, 3, 5), 0.1))
    coupling = held.couple(held.parameters, Dense((4,), 3))
    (own,) = held.pairs.parameters
    assert isinstance(coupling, Matrix)
    assert torch.equal(coupling.weight, own[..., :-1])
    assert not torch.equal(own, held.parameters[0])


def test_absolute_writes_do_not_keep_what_went_wrong_before() -> None:
    """Rewriting by nothing much redraws one write's error; moving keeps all earlier ones."""
    errors = []
    for absolute in (True, False):
        held = store(absolute)
        for step in range(20):
            held.write([torch.full((2, 3, 5), 0.02 if step % 2 else -0.02)])
        assert torch.allclose(held.parameters[0], torch.full((2, 3, 5), 0.1), atol=1e-6)
        errors.append(float((held.pairs.parameters[0] - 0.1).abs().median()))
    assert errors[0] < 0.6 * errors[1]


def test_it_goes_on_from_its_state() -> None:
    held, other = store(absolute=True), store(absolute=True, seed=1)
    held.write([torch.full((2, 3, 5), 0.05)])
    other.restore(held.state())
    for each in (held, other):
        each.write([torch.full((2, 3, 5), -0.02)])
    assert torch.equal(held.pairs.cells, other.pairs.cells)
    assert torch.equal(held.asked, other.asked)
