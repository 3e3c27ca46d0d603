"""What a config says of contrasts: sampled, rounded, measured; and what it refuses in one line."""

from __future__ import annotations

from typing import Any

import pytest

from madem.errors import InputError
from madem.experiments.train.config import TrainConfig
from madem.learn import Contrast, Even, Measured
from madem.machine.sampling import sampling_noise
from madem.training import Trainer, chips_of


def plan_of(machine: dict[str, Any], **parts: Any) -> Any:
    return TrainConfig.of({
        "task": {"kind": "digits", "size": 8, "train": 64}, "machine": machine,
        "schedule": {"steps": 2, "batch": 8}, **parts,
    }).plan()  # fmt: skip


def chip(**keys: Any) -> dict[str, Any]:
    return {"kind": "chip", "chips": 2, "lines": 66, **keys}


def test_a_sampled_contrast_is_what_its_capacitors_make_it() -> None:
    found = chips_of(plan_of(chip(contrast="sampled", hold="0.25 pF"))).periphery
    assert found.sampled
    assert found.hold_noise == pytest.approx(sampling_noise(0.25e-12) / 0.2)
    plain = chips_of(plan_of(chip(output_range="measured", rounding="random"))).periphery
    assert (plain.sampled, plain.hold_noise) == (False, 0.0)
    assert (plain.output_range, plain.rounding) == ("measured", "random")


@pytest.mark.parametrize("kind", ["centred", "positive", "negative", "richardson", "random-sign"])
def test_a_measured_strength_stands_wherever_a_beta_does(kind: str) -> None:
    plan = plan_of(chip(), estimator={"kind": kind, "beta": "auto"})
    assert plan.estimator.beta == Measured()
    trainer = Trainer(plan)
    trainer.advance()
    assert float(plan.estimator.beta.memory.held[0]) == 1
    even = plan_of(chip(), estimator={"kind": kind, "beta": {"kind": "even", "amount": 2}})
    assert even.estimator.beta == Even(2.0)


def test_an_exact_machine_says_what_it_takes_instead() -> None:
    trainer = Trainer(plan_of({"kind": "ideal"}, estimator={"kind": "centred", "beta": "auto"}))
    assert isinstance(trainer.plan.estimator, Contrast)
    with pytest.warns(UserWarning, match=r"beta auto: .*relative-move"):
        trainer.advance()


BAD: dict[str, dict[str, Any]] = {
    "machine.contrast: does nothing where converters is false":
        chip(contrast="sampled", converters=False),
    "machine.rounding: does nothing where converters is false":
        chip(rounding="random", converters=False),
    "machine.hold: does nothing where contrast is converted": chip(hold="2 pF"),
    "contrast sampled does nothing where states are read exactly":
        chip(contrast="sampled", adc_bits=0),
    "output_range measured does nothing where states": chip(output_range="measured", adc_bits=0),
    "rounding random does nothing where nudges are driven": chip(rounding="random", dac_bits=0),
    "machine.contrast: unknown name 'sampeld': did you mean 'sampled'": chip(contrast="sampeld"),
    "machine.hold": chip(contrast="sampled", hold="1 pA"),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_what_would_do_nothing_is_refused(message: str) -> None:
    with pytest.raises(InputError) as told:
        plan_of(BAD[message])
    assert message in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300


@pytest.mark.parametrize(
    "beta", ["atuo", {"kind": "auto", "every": 0}, {"kind": "even", "amount": 0}]
)
def test_strengths_that_are_none_are_refused(beta: Any) -> None:
    with pytest.raises(InputError, match=r"^estimator\.(centred\.)?beta") as told:
        plan_of(chip(), estimator={"kind": "centred", "beta": beta})
    assert "\n" not in str(told.value)
