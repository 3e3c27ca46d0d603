"""What bad settings get: one line that names the field, the value, what is allowed."""

from __future__ import annotations

import pytest

from madem.errors import InputError
from madem.experiments.brailleconfig import make
from madem.experiments.build import plan
from tests.conftest import small_config


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sede=1", "unknown key 'sede': did you mean 'seed'"),
        ("chip.adc_bit=8", "unknown key 'chip.adc_bit': did you mean 'adc_bits'"),
        ("classify.one_layer.stepz=8", "'classify.one_layer.stepz': did you mean 'steps'"),
        ("chip.adc_bits.x=8", "unknown key 'chip.adc_bits.x': 'adc_bits' has no parts"),
        ("chips=0", "chips: input should be greater than or equal to 1, but is 0"),
        (
            "classify.flip_probability=0.7",
            "classify.flip_probability: .* less than 0.5, but is 0.7",
        ),
        ("chip.base=20", "chip.base: '20' needs a unit compatible with siemens"),
        ("chip.base=20 V", "chip.base: '20 V' needs a unit compatible with siemens"),
        ("chip.base=-20 uS", "chip.base: must be zero or positive, but is '-20 uS'"),
        ('classify.one_layer.units=["0 uS"]', "units.*: must be positive, but is '0 uS'"),
        ("classify.one_layer.estimator=centered", "did you mean 'centred'"),
        ("classify.one_layer.writing=pulse", "did you mean 'pulses'"),
        ("classify.one_layer.rates=[.nan]", "classify.one_layer.rates.0: .* finite"),
        ("seed", "--set takes key=value, but is 'seed'"),
        ("seed=[1", "--set seed='\\[1': .*not YAML: did not find expected"),
    ],
)
def test_bad_settings(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        small_config(setting)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "task", "depth", "message"),
    [
        ("classify.two_layer.hidden=70", "classify", "two_layer", "need 13 x 140 with pairs"),
        ("chip.lines=8", "classify", "one_layer", "does not fit two 8 x 8 arrays: 13 lines"),
        ("classify.two_layer.rates=[1.0]", "classify", "two_layer", "needs 2 values.* has 1"),
        (
            "classify.two_layer.ex_situ.units=[9 uS]",
            "classify",
            "two_layer",
            "ex_situ.units: needs 2",
        ),
        (
            "reconstruct.one_layer.backprop.rates=[1, 1]",
            "reconstruct",
            "one_layer",
            "rates: needs 1",
        ),
        ("chip.device=taox", "classify", "one_layer", "did you mean 'taox-1t1m'"),
        ("chip.base=200 uS", "classify", "one_layer", "chip.base must be below .* 150 uS"),
    ],
)
def test_what_cannot_be_built(setting: str, task: str, depth: str, message: str) -> None:
    config = small_config(setting)
    with pytest.raises(InputError, match=message):
        plan(config, task, depth)


def test_a_config_survives_its_file() -> None:
    config = small_config()
    assert make(config.model_dump(mode="json")) == config
