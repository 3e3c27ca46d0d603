"""A reservoir by its statistics, labels by their times, a learner that goes on from anywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from madem.device import load
from madem.errors import InputError
from madem.learn import Accumulate, Descent, centred
from madem.learn.continual import Labels, Learner, Reservoir, Teaching, arrivals
from madem.ledger import Ledger
from madem.machine import SignedPair, Simulated, verified
from madem.network import CrossEntropy, Dense, Free, Layer, Network
from madem.randomness import stream
from madem.solver import Sweep


def filled(reservoir: Reservoir, count: int, seed: int) -> torch.Tensor:
    """Return which of ``count`` numbered samples of class 0 a reservoir holds."""
    x = torch.arange(float(count))[:, None]
    kept = reservoir.add(reservoir.init(1), x, torch.zeros(count).long(), stream(seed, "r"))
    return kept.samples[0, :, 0]


def test_a_reservoir_that_does_not_fade_holds_everything_as_likely() -> None:
    held = torch.cat([filled(Reservoir(10, fading=False), 100, seed) for seed in range(600)])
    counts = torch.bincount(held.long(), minlength=100).double()
    expected = 600 * 10 / 100
    chi = float(((counts - expected) ** 2 / expected).sum())
    assert chi < 160  # 99 degrees of freedom, variance smaller than a multinomial's


def test_a_fading_reservoir_forgets_at_one_rate() -> None:
    """A sample is still there after n more with the probability (1 - 1/room)^n."""
    held = torch.cat([filled(Reservoir(10), 60, seed) for seed in range(600)])
    counts = torch.bincount(held.long(), minlength=60).double() / 600
    age = 59 - torch.arange(60)
    expected = 0.9 ** age.clamp(max=50)
    np.testing.assert_allclose(counts, expected, atol=0.075)


def test_both_classes_are_drawn_as_often_however_rare_one_is() -> None:
    reservoir, draws = Reservoir(50), stream(0, "draws")
    x, label = torch.randn(500, 3), (torch.arange(500) % 50 == 0).long()
    kept = reservoir.add(reservoir.init(3), x, label, draws)
    shown, kind = reservoir.draw(kept, (4, 2000), draws)
    assert shown.shape == (4, 2000, 3)
    assert float(kind.double().mean()) == pytest.approx(0.5, abs=0.02)
    rare = {tuple(row) for row in shown[kind == 1].tolist()}
    assert rare == {tuple(row) for row in x[label == 1].tolist()}


def test_a_class_that_never_came_is_not_drawn_and_an_empty_reservoir_is_said() -> None:
    reservoir, draws = Reservoir(5), stream(0, "draws")
    kept = reservoir.add(reservoir.init(1), torch.ones(3, 1), torch.ones(3).long(), draws)
    assert reservoir.draw(kept, (50,), draws)[1].unique().tolist() == [1]
    with pytest.raises(InputError, match="no label has come"):
        reservoir.draw(reservoir.init(1), (1,), draws)
    with pytest.raises(InputError, match="at least 1"):
        Reservoir(0)


@pytest.mark.parametrize("delay", [0.0, 0.4, 3.0, 100.0])
@pytest.mark.parametrize("block", [1, 7, 10])
def test_no_label_comes_from_the_future(delay: float, block: int) -> None:
    draws = np.random.default_rng(0)
    time = torch.from_numpy(np.cumsum(draws.exponential(1.0, 100)))
    asked = torch.from_numpy(draws.random(100) < 0.6)
    seen, judged = list[int](), 0
    for part, came in arrivals(time, asked, delay, block):
        assert part.start == judged
        judged = part.stop
        now = time[judged - 1]
        assert all(time[i] + delay <= now for i in came)
        seen += came.tolist()
        late = [i for i in range(100) if asked[i] and i not in seen]
        assert all(time[i] + delay > now for i in late)  # and none is held back
    assert judged == 100
    assert seen == sorted(set(seen))
    assert bool(asked[seen].all())


def test_labels_are_given_and_wrong_by_their_shares() -> None:
    truth = (torch.arange(50_000) % 4 == 0).long()
    asked, label = Labels(0.3, wrong=0.1).given(truth, stream(0, "labels"))
    assert float(asked.double().mean()) == pytest.approx(0.3, abs=0.01)
    for kind in (0, 1):
        wrong = (label != truth)[truth == kind].double().mean()
        assert float(wrong) == pytest.approx(0.1, abs=0.01)
    with pytest.raises(InputError, match="wrong below 0.5"):
        Labels(wrong=0.5)


def test_a_wrong_label_names_any_other_class_as_likely() -> None:
    truth = torch.arange(60_000) % 5
    _, label = Labels(wrong=0.4).given(truth, stream(0, "labels"), 5)
    counts = torch.bincount((label - truth) % 5, minlength=5).double() / len(truth)
    np.testing.assert_allclose(counts, [0.6, 0.1, 0.1, 0.1, 0.1], atol=0.01)


ROOM = Reservoir(20)


def learner(seed: int = 0, chips: int = 3, reservoir: Reservoir | None = ROOM) -> Learner:
    unit = 400e-6
    network = Network(4, (Layer(2, Free()),))
    cells = SignedPair(load("taox-1t1m"), torch.zeros(chips, 2, 5), unit, 20e-6,
                       stream(seed, "cells"), stream(seed, "writes"), verified)  # fmt: skip
    machine = Simulated(network, Sweep(), [cells])
    return Learner(
        machine, centred(2.0), Accumulate((15e-6 / unit,)), CrossEntropy(),
        Teaching(4, 16, 0.5, 0.0, reservoir), stream(seed, "draws"), Ledger(), Ledger(),
    )  # fmt: skip


def labelled(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(count, 4, generator=stream(seed, "x")).clamp(-1, 1)
    return x, (x[:, 0] > 0).long()


def test_it_learns_what_labels_say_and_counts_what_that_takes() -> None:
    own = learner()
    x, label = labelled(200, 1)
    before = ((own.judge(x) > 0) == (label == 1)).double().mean()
    for part in range(0, 200, 20):
        own.learn(x[part : part + 20], label[part : part + 20])
    y, truth = labelled(500, 2)
    assert float(((own.judge(y) > 0) == (truth == 1)).double().mean()) > 0.8 > before + 0.2
    judged, learned = own.judging.totals, own.learning.totals  # type: ignore[attr-defined]
    assert judged["array read"][0] == 700
    assert "verified write" not in judged
    assert learned["array read"][0] == 10 * 4 * 16
    assert own.written.tolist() == learned["verified write"][0].tolist()


def test_it_goes_on_from_anywhere_bit_for_bit() -> None:
    x, label = labelled(60, 1)
    whole, part = learner(), learner()
    for each in (whole, part):
        each.learn(x[:30], label[:30])
    again = learner(seed=5)
    again.restore(part.state())
    for each in (whole, again):
        each.learn(x[30:], label[30:])
    assert torch.equal(whole.judge(x), again.judge(x))
    assert torch.equal(whole.kept.samples, again.kept.samples)
    assert torch.equal(whole.written, again.written)


def test_chips_without_an_alarm_are_left_alone_and_take_no_joules() -> None:
    own = learner()
    x, label = labelled(40, 1)
    before = own.machine.parameters[0].clone()
    own.learn(x, label, torch.tensor([0.0, 1.0, 0.0]))
    moved = (own.machine.parameters[0] != before).flatten(1).any(1)
    assert moved.tolist() == [False, True, False]
    assert own.written[0] == own.written[2] == 0 < own.written[1]
    count, watts = own.learning.totals["array read"]  # type: ignore[attr-defined]
    assert count.tolist() == [0, 64, 0]
    assert [bool(each > 0) for each in watts] == [False, True, False]


def test_one_class_alone_teaches_nothing_without_a_reservoir_and_no_label_never() -> None:
    x, _ = labelled(10, 1)
    own = learner(reservoir=None)
    own.learn(x, torch.ones(10).long())
    other = learner()
    other.learn(x[:0], torch.zeros(0).long())
    assert own.written.sum() == other.written.sum() == 0


def test_groups_of_a_reservoir_teach_the_same_classes() -> None:
    """Samples of group k + outputs are kept apart from those of k, and pull the same output."""
    own = learner(reservoir=Reservoir(20, classes=4))
    x, label = labelled(200, 1)
    own.remember(x, label)
    for part in range(0, 200, 20):
        own.learn(-x[part : part + 20], label[part : part + 20] + 2)
    assert own.kept.seen.tolist() == [*label.bincount().tolist()] * 2
    both = own.outputs(torch.cat([x, -x])).argmax(-1).double().mean(-1)
    assert float(both.mean()) == pytest.approx(0.5, abs=0.2)  # both signs mean either class
    fresh = learner(reservoir=None)
    for part in range(0, 200, 20):
        fresh.learn(x[part : part + 20], label[part : part + 20] + 2)
    y, truth = labelled(500, 2)
    assert float((fresh.outputs(y).argmax(-1) == truth).double().mean()) > 0.8


def test_an_ideal_network_is_descended() -> None:
    """The update of exact numbers is minus the rate times autograd's gradient."""
    network = Network(4, (Layer(2, Free()),))
    assert isinstance(network.joints[0], Dense)
    machine = Simulated.ideal(network, [[torch.zeros(2, 4), torch.zeros(2)]])
    own = Learner(machine, centred(0.1), Descent(), CrossEntropy(),
                  Teaching(1, 5000, 0.5, 0.0, None), stream(0, "d"))  # fmt: skip
    x, label = labelled(50, 1)
    own.learn(x, label)
    weight = torch.zeros(2, 4, requires_grad=True)
    torch.nn.functional.cross_entropy(x @ weight.T, label).backward()
    assert weight.grad is not None
    torch.testing.assert_close(
        machine.parameters[0], -0.5 * weight.grad, rtol=0.15, atol=0.01
    )  # the batch is drawn with replacement


def test_parameters_decay_by_their_share_beside_the_gradient() -> None:
    """One update with the same draws: minus the rate times the decay times the parameter."""
    network, found = Network(4, (Layer(2, Free()),)), []
    begun = [0.3 * torch.randn(2, 4, generator=stream(0, "w")), torch.tensor([0.1, -0.2])]
    x, label = labelled(50, 1)
    for decay in (0.0, 0.1):
        machine = Simulated.ideal(network, [[each.clone() for each in begun]])
        own = Learner(machine, centred(0.1), Descent(), CrossEntropy(),
                      Teaching(1, 64, 0.5, decay, None), stream(0, "d"))  # fmt: skip
        own.learn(x, label)
        found.append(machine.parameters)
    for still, decayed, before in zip(*found, begun, strict=True):
        torch.testing.assert_close(decayed - still, -0.5 * 0.1 * before, rtol=1e-3, atol=1e-6)
