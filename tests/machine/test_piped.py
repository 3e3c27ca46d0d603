"""A chip in another process: it trains like the simulated one; a fault of it is said in a line."""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path

import pytest
import torch

from madem.errors import InputError
from madem.learn import Measured, RelativeMove, centred, holomorphic, springs
from madem.machine import Piped, Simulated
from madem.network import CrossEntropy, Free, Layer, Network, SquaredError
from madem.randomness import stream

EXAMPLES = Path(__file__).parents[2] / "examples"
NETWORK = Network(3, (Layer(2, Free()),))


def chip() -> Piped:
    script = str(EXAMPLES / "scripted_chip.py")
    return Piped(NETWORK, [sys.executable, script, "3", "2", "0"])


def test_braille_is_learned_as_on_the_simulated_chip() -> None:
    example = runpy.run_path(str(EXAMPLES / "chip_in_a_box.py"))
    piped = example["piped"]()
    ours, theirs = (example["trained"](each, 100) for each in (piped, example["simulated"]()))
    piped.close()
    assert ours > 0.8
    assert abs(ours - theirs) < 0.04


def test_settlings_writes_and_gradients_are_those_of_what_it_holds() -> None:
    machine = chip()
    x, target = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, 0.0]]), torch.tensor([0, 1])
    assert not bool(machine.settle(x).output.any())
    wanted = [torch.tensor([[0.2, -0.1, 0.0], [0.0, 0.1, 0.1]]), torch.tensor([0.1, 0.0])]
    assert machine.write(wanted) == (None,)
    for held, asked in zip(machine.parameters, wanted, strict=True):
        assert 0 < float((held - asked).abs().max()) < 0.02
        assert torch.equal(held == 0, asked == 0)
    ideal = Simulated.ideal(NETWORK, [machine.parameters])
    assert torch.allclose(machine.settle(x).output, ideal.settle(x).output, atol=1e-6)
    for a, b in zip(*(centred(0.5)(each, x, target, CrossEntropy()).weights
                      for each in (machine, ideal)), strict=True):  # fmt: skip
        assert torch.allclose(a, b, atol=1e-6)
    assert (machine.settled, machine.unsettled) == (10, 0)
    machine.close()


def test_large_batches_do_not_stop_up_the_pipe() -> None:
    machine = chip()
    assert machine.settle(torch.rand(20000, 3)).output.shape == (20000, 2)
    machine.close()


HELLO = "import sys, json; print(json.dumps({'parameters': [[[0] * 3] * 2, [0] * 2]}), flush=True);"
NEXT = "sys.stdin.readline(); sys.stdin.readline();"
FAULTS = {
    "ended at 'show' with exit code 3": "import sys; sys.exit(3)",
    "ended at 'show' .* last said 'ZeroDivisionError": "1 / 0",
    "answered 'show' with no JSON object, but with 'ready": "print('ready')",
    r"answered 'show' with no JSON object, but with '\[\[\[": "print('[' * 100000)",
    "parameters must be a list of 2, but is null": "print('{}')",
    "parameter 1.weight must be numbers": 'print(\'{"parameters": [["a"], [1]]}\')',
    r"parameter 1.weight must be finite and of the shape \(2, 3\)":
        "print('{\"parameters\": [[1, 2], [1]]}')",
    "refused 'show': 'no chip in the socket'": "print('{\"error\": \"no chip in the socket\"}')",
    "did not answer 'show' within 2 s": "import time; time.sleep(60)",
    "did not answer 'settle' within 2 s": f"{HELLO} {NEXT} import time; time.sleep(60)",
    "ended at 'settle' with exit code 0": f"{HELLO} sys.stdin.readline()",
    "states must be a list of 1, but is null":
        f"{HELLO} {NEXT} print('{{}}', flush=True); sys.stdin.readline()",
    r"states\[0\] must be finite and of the shape \(1, 2\).*nan": f"{HELLO} {NEXT} "
        "print('{\"states\": [[[NaN, 1]]]}', flush=True); sys.stdin.readline()",
}  # fmt: skip


@pytest.mark.parametrize("line", FAULTS)
def test_a_faulty_chip_is_one_clear_line(line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        Piped(NETWORK, [sys.executable, "-c", FAULTS[line]], 2.0).settle(torch.zeros(1, 3))
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def scripted(answer: str) -> list[str]:
    """Return a chip that, for every line, does what ``answer`` says with ``asked`` and ``say``."""
    return [sys.executable, "-c", f"""
import json, sys, time
HELD = {{"parameters": [[[0] * 3] * 2, [0] * 2]}}
REST = {{"states": [[[1, 2]]], "output": [[1, 2]], "converged": [True]}}
say = lambda held: print(json.dumps(held), flush=True)
for number, line in enumerate(sys.stdin):
    asked = json.loads(line)["verb"]
    held = HELD if asked in ("show", "write") else REST
    {answer}
"""]  # fmt: skip


def test_what_comes_too_late_is_no_answer_to_the_next_question() -> None:
    late = Piped(NETWORK, scripted("time.sleep(1.5 * (number == 1)); say(held)"), 1.0)
    with pytest.raises(InputError, match="did not answer 'settle' within 1 s, and was ended"):
        late.settle(torch.zeros(1, 3))
    for _ in range(2):
        with pytest.raises(InputError, match="process was ended"):
            late.settle(torch.zeros(1, 3))
    twice = Piped(NETWORK, scripted("say(held); time.sleep(0.2); say(REST)"))
    time.sleep(0.5)
    with pytest.raises(InputError, match="spoke before it was asked 'settle': .*states"):
        twice.settle(torch.zeros(1, 3))


def test_a_chip_is_asked_for_finite_numbers_alone() -> None:
    machine = Piped(NETWORK, scripted("say(held)"), float("inf"))
    for x in (torch.full((1, 3), float("nan")), torch.zeros(1, 3).long()):
        with pytest.raises(InputError, match="finite real numbers|of torch.int64"):
            machine.settle(x)
    for change in (torch.full((2, 3), float("inf")), torch.zeros(3, 2)):
        with pytest.raises(InputError, match="finite real numbers|shapes of the parameters"):
            machine.write([change, torch.zeros(2)])
    assert machine.settle(torch.zeros(1, 3)).output.tolist() == [[1, 2]]
    machine.close()


def test_what_it_cannot_do_is_refused_before_it_is_asked() -> None:
    machine, x, target = chip(), torch.rand(4, 3), torch.tensor([0, 1, 0, 1])
    with pytest.raises(InputError, match="did not start: No such file"):
        Piped(NETWORK, ["/nowhere/chip"])
    with pytest.raises(InputError, match=r"shape \(batch, 3\), but has \(2, 4, 3\)"):
        machine.settle(torch.zeros(2, 4, 3))
    with pytest.raises(InputError, match="not by a Spring: use currents"):
        centred(0.1, springs)(machine, x, target, SquaredError())
    with pytest.raises(InputError, match="nudged by a real current"):
        holomorphic(0.1)(machine, x, target, CrossEntropy())
    with pytest.raises(InputError, match="strength of order 1"):
        centred(RelativeMove())(machine, x, target, CrossEntropy())
    machine.close()


@pytest.mark.parametrize("wide", [0.0, 0.3])
def test_a_chip_elsewhere_is_nudged_as_its_own_noise_asks_for(wide: float) -> None:
    """What is measured takes ``settle`` alone; without noise the nudge only has to be seen."""
    machine, auto = chip(), Measured()
    x, target = torch.randn(16, 3, generator=stream(0, "x")), torch.arange(16).remainder(2)
    machine.write([wide * torch.randn(2, 3, generator=stream(0, "w")), torch.zeros(2)])
    found = centred(auto)(machine, x, target, CrossEntropy()).weights
    assert machine.settled == 7 * 16
    ideal = Simulated.ideal(NETWORK, [machine.parameters])
    for ours, theirs in zip(
        found, centred(0.5)(ideal, x, target, CrossEntropy()).weights, strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-5)
    machine.close()
