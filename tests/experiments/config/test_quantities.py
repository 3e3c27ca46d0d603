"""What keys of configs may hold: both ends of every number, every unit, memory asked first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from madem.documents import dump_yaml, load_yaml
from madem.errors import InputError
from madem.experiments.braille.config import BrailleConfig
from madem.experiments.catalogue import MODULES, find
from madem.experiments.noise.config import NoiseConfig
from madem.experiments.spectrum.config import SpectrumConfig
from madem.experiments.train.config import TrainConfig
from madem.experiments.variability.config import VariabilityConfig
from madem.units import parse

CONFIGS: list[type[BaseModel]] = [
    BrailleConfig, NoiseConfig, SpectrumConfig, TrainConfig, VariabilityConfig,
]  # fmt: skip


def numbers(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every number in a JSON schema."""
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            yield path, schema
        for key, value in schema.items():
            yield from numbers(value, f"{path}.{key}")
    elif isinstance(schema, list):
        for value in schema:
            yield from numbers(value, path)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_number_has_both_ends(config: type[BaseModel]) -> None:
    found = list(numbers(config.model_json_schema()))
    assert found
    for path, schema in found:
        assert {"minimum", "exclusiveMinimum"} & set(schema), path
        assert {"maximum", "exclusiveMaximum"} & set(schema), path


@pytest.mark.parametrize("name", MODULES)
def test_the_shipped_defaults_fit_a_small_computer(name: str) -> None:
    config = find({"experiment": name}).model.of({"experiment": name})
    assert 0 < sum(config.needs().values()) < 200e6


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({"machine": {"chips": 1_000_000}}, "machine.chips"),
        ({"test_samples": 100_000_000, "letters": 1000, "machine": {"chips": 1}}, "test_samples"),
        ({"machine": {"lines": 100_000}}, "machine.lines"),
    ],
)
def test_memory_is_asked_first(
    values: dict[str, Any], keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("madem.memory.available", lambda: 1e9)
    with pytest.raises(InputError, match=f"GiB, 0.9 GiB are available: lower {keys}"):
        BrailleConfig.of({"words": ["a", "b"]} | values)
    with pytest.raises(InputError, match=r"lower network.hidden"):
        TrainConfig.of({"network": {"kind": "hopfield", "hidden": [1_000_000, 1_000_000]}})


@pytest.mark.parametrize(
    "text", ["1;2 uS", "uS", "9**9**9 uS", "10**400 uS", "1e400 uS", "nan uS", "1 uS uS", "0x1 uS",
             "1_0 uS", "\u0661 uS", "1 uS * 2", "1e300 S", "5 %", "3 bit", "5", ""]
)  # fmt: skip
def test_what_is_no_conductance(text: str) -> None:
    with pytest.raises(InputError):
        parse(text, "siemens")


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [("150uS", "siemens", 150e-6), ("2 \u00b5S", "siemens", 2e-6), ("2 \u03bcS", "siemens", 2e-6),
     ("1e-3 mS", "siemens", 1e-6), ("2 k\u03a9", "ohm", 2000.0), ("8 bit", "bit", 8.0),
     ("5 %", "percent", 5.0), ("1 day", "second", 86400.0), ("-.5", "dimensionless", -0.5),
     ("-1.5 1/uS", "1/siemens", -1.5e6)],
)  # fmt: skip
def test_what_is_a_quantity(text: str, unit: str, value: float) -> None:
    assert parse(text, unit) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "unit"),
    [("50 %", "bit"), ("64 bit", "percent"), ("5", "percent"), ("50 %", "dimensionless"),
     ("1 bit", "dimensionless")],
)  # fmt: skip
def test_what_has_no_dimension_is_not_the_same(text: str, unit: str) -> None:
    with pytest.raises(InputError):
        parse(text, unit)


@pytest.mark.parametrize(
    "value", ["1e3", "yes", "010", "1:30", "", "null", "~", "0x10", "2001-01-01", "a: b", "- a",
              "1.0e-20", 1e-20, 1.0, 3, -0.0, True, None, "\u2028", "\x85", "#", "& a", "!x", "<<"]
)  # fmt: skip
def test_what_is_written_is_read_back(value: Any) -> None:
    back = load_yaml(dump_yaml({"key": [value]}), "example")["key"][0]
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"experiment": "spectrum", "base": "150 uS"}, "base"),
        ({"experiment": "noise", "machine": {"base": "1 mS"}}, "machine.base"),
        ({"experiment": "variability", "machine": {"base": "1 mS"}}, "machine.base"),
        ({"experiment": "train", "machine": {"kind": "chip", "base": "1 mS"}}, "machine.base"),
    ],
)  # fmt: skip
def test_a_base_that_the_device_does_not_reach(values: dict[str, Any], key: str) -> None:
    experiment = find(values)
    config = experiment.model.of(values)
    with pytest.raises(InputError, match=f"^{key} must be below .* 150 uS"):
        experiment.check(config)
