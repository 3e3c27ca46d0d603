"""What bad settings get: one line that names the field, the value, what is allowed."""

from __future__ import annotations

import pytest

from madem.errors import InputError
from madem.experiments.braille.config import BrailleConfig
from madem.experiments.braille.study import check
from tests.conftest import small_config


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sede=1", "unknown key 'sede': did you mean 'seed'"),
        ("machine.adc_bit=8", "unknown key 'machine.adc_bit': did you mean 'adc_bits'"),
        ("classify.one_layer.schedule.stepz=8", "schedule.stepz': did you mean 'steps'"),
        ("machine.adc_bits.x=8", "unknown key 'machine.adc_bits.x': 'adc_bits' has no parts"),
        ("machine.chips=0", "machine.chips: input should be greater than or equal to 1, but is 0"),
        (
            "classify.flip_probability=0.7",
            "classify.flip_probability: .* less than 0.5, but is 0.7",
        ),
        ("machine.base=20", "machine.base: '20' needs a unit compatible with siemens"),
        ("machine.base=20 V", "machine.base: '20 V' needs a unit compatible with siemens"),
        ("machine.base=-20 uS", "machine.base: must be zero or positive, but is '-20 uS'"),
        ('classify.one_layer.writing.units=["0 uS"]', "units.*: must be positive, but is '0 uS'"),
        ("classify.one_layer.estimator=centered", "did you mean 'centred'"),
        ("classify.one_layer.writing.way=single", "did you mean 'single-pulse'"),
        ("classify.one_layer.schedule.rates=[.nan]", "one_layer.schedule.rates.0: .* finite"),
        ("seed", "--set takes key=value, but is 'seed'"),
        ("seed=[1", "--set seed='\\[1': .*not YAML: did not find expected"),
    ],
)
def test_bad_settings(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        small_config(setting)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("classify.two_layer.network.hidden=[70]", "classify.two_layer: .* 13 x 140 with pairs"),
        ("machine.lines=8", "classify.two_layer: .* does not fit a 8 x 8 array: 13 lines"),
        ("classify.two_layer.schedule.rates=[1, 1, 1]", "rates needs 1 or 2 values.* has 3"),
        ("classify.two_layer.writing.units=[9 uS, 9 uS, 9 uS]", "units needs 1 or 2 values"),
        ("classify.two_layer.ex_situ.units=[9 uS, 9 uS, 9 uS]", "units needs 1 or 2 values"),
        ("reconstruct.one_layer.backprop.rates=[1, 1]", "rates needs 1 or 1 values"),
        ("machine.device=taox", "did you mean 'taox-1t1m'"),
        ("machine.base=200 uS", "machine.base must be below .* 150 uS"),
    ],
)
def test_what_cannot_be_built(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(small_config(setting))


def test_a_config_survives_its_file() -> None:
    config = small_config()
    assert BrailleConfig.of(config.model_dump(mode="json")) == config
