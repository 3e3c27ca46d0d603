"""Device presets: YAML files in which every number has a unit and a source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from madem.device import fluctuation, forms
from madem.device.cell import Cell
from madem.documents import load_yaml, read_yaml, refuse_unknown
from madem.errors import InputError, clipped, nearest, shown
from madem.units import parse

FORMS: dict[str, dict[str, type]] = {
    "response": {
        "soft-bounds": forms.SoftBounds,
        "linear-step": forms.LinearStep,
        "exponential-step": forms.ExponentialStep,
        "table": forms.Table,
    },
    "scatter": {"normal": forms.Normal, "log-normal": forms.LogNormal},
    "error": {"constant": forms.Constant, "polynomial": forms.Polynomial},
    "noise": {"white": forms.White, "flicker": forms.Flicker, "telegraph": forms.Telegraph},
    "retention": {
        "stable": forms.Stable,
        "log-drift": forms.LogDrift,
        "relaxation": forms.Relaxation,
    },
    "spectrum": {
        "white": fluctuation.White,
        "flicker": fluctuation.OneOverF,
        "telegraph": fluctuation.TwoLevel,
    },
}
"""The forms a preset can name, and the classes they become."""

BITS = ("dac_bits", "adc_bits")


@dataclass(frozen=True)
class Preset:
    """A named device: its cell, its converters' bits (0: exact), every number's text and source.

    ``spectrum``: how the fluctuation of a cell by ``read_sigma`` is spread over frequencies.
    ``entries``: for each key, ``response.gamma_up`` for a number of a form, its value and source.
    """

    name: str
    description: str
    cell: Cell
    dac_bits: int
    adc_bits: int
    spectrum: fluctuation.Spectrum
    entries: Mapping[str, Mapping[str, str]]

    @property
    def citations(self) -> tuple[str, ...]:
        """The publications behind its numbers: where no DOI or arXiv number is, the description.

        >>> preset("cmo-hfox").citations
        ('IBM, arXiv 2502.04524',)
        """
        sources = [self.description, *(entry["source"] for entry in self.entries.values())]
        found = [re.search(r"[^;:(]*\b(?:doi|arXiv) [\w./-]*\w", text) for text in sources]
        named = dict.fromkeys(match.group().strip() for match in found if match)
        return tuple(named) or (self.description,)


def names() -> tuple[str, ...]:
    """Return the names of the shipped presets.

    >>> "taox-1t1m" in names()
    True
    """
    folder = files("madem.device").joinpath("presets")
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml")))


def preset(name: str) -> Preset:
    """Return the preset ``name``, or the one in the YAML file at that path.

    Raises ``InputError`` for an unknown name (with the nearest), an unknown or missing key or form,
    a number without unit or without source, a range that is empty.

    >>> preset("taox-1t1m").entries["high"]["value"]
    '150 uS'
    """
    content = _content(name)
    where, parameters = f"device {clipped(repr(name), 120)}", content["parameters"]
    keys = [*(f.name for f in fields(Cell) if f.metadata), *BITS, *FORMS]
    if not isinstance(parameters, dict):
        raise InputError(f"{where}: parameters must hold {', '.join(keys)}")
    refuse_unknown(parameters, keys, where)
    values, entries = _numbers(where, "", parameters, Cell)
    bits = {key: _bits(where, key, parameters) for key in BITS}
    entries |= {key: _texts(parameters[key]) for key in BITS}
    for key in FORMS:
        if key in parameters:
            values[key], held = _form(where, key, parameters[key])
            entries |= held
    spectrum = values.pop("spectrum", fluctuation.White())
    try:
        cell = Cell(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    about = str(content["description"])
    return Preset(name, about, cell, spectrum=spectrum, entries=entries, **bits)


def load(name: str) -> Cell:
    """Return the cell of the preset ``name``.

    >>> load("taox-1t1m").high
    0.00015
    """
    return preset(name).cell


def _content(name: str) -> dict[str, Any]:
    """Return the two parts of a preset's file."""
    if name.endswith((".yaml", ".yml")):
        content = read_yaml(Path(name), "device")
    elif name in names():
        text = files("madem.device").joinpath(f"presets/{name}.yaml").read_text()
        content = load_yaml(text, name)
    else:
        raise InputError(f"device: unknown preset {shown(name)}: {nearest(name, names())}")
    if set(content) != {"description", "parameters"}:
        raise InputError(f"device {name!r}: a preset has the keys description and parameters")
    if not isinstance(content["description"], str) or not content["description"].strip():
        raise InputError(f"device {name!r}: description must be text")
    return content


def _numbers(
    where: str, prefix: str, held: Mapping[str, Any], made: type
) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """Return the numbers that ``held`` has for the fields of ``made``, and the texts of each."""
    values, entries = {}, {}
    for field in fields(made):
        if field.metadata and (field.default is MISSING or field.name in held):
            key = f"{prefix}{field.name}"
            values[field.name] = _number(where, key, held, field)
            entries[key] = _texts(held[field.name])
    return values, entries


def _number(where: str, key: str, held: Mapping[str, Any], field: Field[Any]) -> Any:
    """Return the number of a field (of a table, a tuple) in SI units, its source being there."""
    entry: Any = held.get(key.rpartition(".")[2])
    for part in ("value", "source"):
        if not isinstance(entry, dict) or entry.get(part) in (None, "", []):
            raise InputError(f"{where}: {key} has no {part}")
    refuse_unknown(entry, ("value", "source"), f"{where}: {key}")
    value, source, unit = entry["value"], entry["source"], field.metadata["unit"]
    if not isinstance(source, str):
        raise InputError(f"{where}: {key}: source must be text, but is {shown(source)}")
    scale = 100 if unit == "percent" else 1
    if "tuple" in str(field.type):
        if not isinstance(value, list):
            raise InputError(f"{where}: {key} must be a list, but is {shown(value)}")
        return tuple(parse(each, unit, f"{where}: {key}") / scale for each in value)
    return parse(value, unit, f"{where}: {key}") / scale


def _bits(where: str, key: str, held: Mapping[str, Any]) -> int:
    value = _number(where, key, held, forms.number("bit"))
    if value not in (0, *range(2, 25)):
        raise InputError(f"{where}: {key} must be 2 to 24 bit, or 0 bit where it is exact, "
                         f"but is {value:g} bit")  # fmt: skip
    return int(value)


def _form(where: str, key: str, held: Any) -> tuple[Any, dict[str, dict[str, str]]]:
    """Return a form, and the texts of its name and numbers."""
    classes = FORMS[key]
    if not isinstance(held, dict) or not isinstance(held.get("form"), str):
        raise InputError(f"{where}: {key} has no form (allowed: {', '.join(sorted(classes))})")
    if held["form"] not in classes:
        raise InputError(
            f"{where}: {key}: unknown form {shown(held['form'])}: {nearest(held['form'], classes)}"
        )
    if not isinstance(held.get("source"), str) or not held["source"]:
        raise InputError(f"{where}: {key} has no source")
    chosen = classes[held["form"]]
    allowed = ["form", "source", *(f.name for f in fields(chosen))]
    refuse_unknown(held, allowed, f"{where}: {key}")
    values, entries = _numbers(where, f"{key}.", held, chosen)
    named = {key: {"value": held["form"], "source": str(held["source"])}}
    try:
        return chosen(**values), named | entries
    except InputError as error:
        raise InputError(f"{where}: {key}: {error}") from None


def _texts(entry: Mapping[str, Any]) -> dict[str, str]:
    value = entry["value"]
    text = ", ".join(str(each) for each in value) if isinstance(value, list) else str(value)
    return {"value": text, "source": str(entry["source"])}
