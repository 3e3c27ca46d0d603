"""Device presets: YAML files in which every number has a unit and a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from madem.device.cell import Cell
from madem.errors import InputError, nearest
from madem.units import parse

UNITS = {
    "high": "siemens",
    "read_voltage": "volt",
    "tolerance": "siemens",
    "error_mean": "siemens",
    "error_sigma": "siemens",
    "stuck_fraction": "percent",
    "read_sigma": "siemens",
    "high_spread": "percent",
    "pulse_step": "siemens",
    "pulse_spread": "percent",
    "pulse_cycle": "percent",
    "dac_bits": "bit",
    "adc_bits": "bit",
}
"""The unit that each number of a preset must be compatible with."""


@dataclass(frozen=True)
class Preset:
    """A named device: its cell, its converters' bits, and every number's text and source."""

    name: str
    description: str
    cell: Cell
    dac_bits: int
    adc_bits: int
    entries: Mapping[str, Mapping[str, str]]


def names() -> tuple[str, ...]:
    """Return the names of the shipped presets.

    >>> "taox-1t1m" in names()
    True
    """
    folder = files("madem.device").joinpath("presets")
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml")))


def preset(name: str) -> Preset:
    """Return the preset ``name``, or the one in the YAML file at that path.

    Raises ``InputError`` for an unknown name (with the nearest), an unknown or missing key, a
    number without unit or without source.

    >>> preset("taox-1t1m").entries["high"]["value"]
    '150 uS'
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"device: no file {name!r}")
        text = path.read_text()
    elif name in names():
        text = files("madem.device").joinpath(f"presets/{name}.yaml").read_text()
    else:
        raise InputError(f"device: unknown preset {name!r}: {nearest(name, names())}")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"device {name!r}: not YAML") from None
    if not isinstance(content, dict) or set(content) != {"description", "parameters"}:
        raise InputError(f"device {name!r}: a preset has the keys description and parameters")
    values = _values(name, content["parameters"])
    bits = {key: round(values.pop(key)) for key in ("dac_bits", "adc_bits")}
    entries = {
        key: {part: str(text) for part, text in entry.items()}
        for key, entry in content["parameters"].items()
    }
    return Preset(name, str(content["description"]), Cell(**values), entries=entries, **bits)


def load(name: str) -> Cell:
    """Return the cell of the preset ``name``.

    >>> load("taox-1t1m").high
    0.00015
    """
    return preset(name).cell


def _values(name: str, parameters: object) -> dict[str, float]:
    """Return every number of a preset in SI units."""
    keys = list(UNITS)
    if not isinstance(parameters, dict):
        raise InputError(f"device {name!r}: parameters must hold {', '.join(keys)}")
    for key in parameters:
        if key not in keys:
            raise InputError(f"device {name!r}: unknown key {key!r}: {nearest(key, keys)}")
    values = {}
    for key in keys:
        entry: Any = parameters.get(key)
        for part in ("value", "source"):
            if not isinstance(entry, dict) or not entry.get(part):
                raise InputError(f"device {name!r}: {key} has no {part}")
        value = parse(entry["value"], UNITS[key], f"device {name!r}: {key}")
        values[key] = value / 100 if UNITS[key] == "percent" else value
    return values
