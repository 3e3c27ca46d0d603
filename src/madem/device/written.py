"""A fit as a preset: its numbers over those of a base, all with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from madem.device.fitting import Fit, Parameter
from madem.device.presets import FORMS, Preset
from madem.documents import dump_yaml

SIGNED = ("error_mean", "up_down", "retention.mean")


def preset_text(fit: Fit, base: Preset, source: str) -> str:
    """Return the YAML of a preset: what ``fit`` found in ``source``, the rest as ``base`` has it.

    Numbers that cannot be below zero and came out so within their uncertainty are written as zero.
    """
    entries: dict[str, Mapping[str, str]] = {}
    for key, entry in base.entries.items():
        if key.partition(".")[0] in fit.forms:
            continue
        text = f"not fitted, that of preset {base.name}: {entry['source']}"
        entries[key] = {"value": entry["value"], "source": text}
    for key, name in fit.forms.items():
        how = "preferred by BIC" if len(fit.candidates) > 1 else "the only one tried"
        entries[key] = {"value": name, "source": f"fit of {source}: {how}"}
    for parameter in fit.parameters:
        if not parameter.preset:
            continue
        entries[parameter.key] = _entry(parameter, fit, source)
    description = f"Fitted to {fit.samples} samples of {fit.devices} device(s) in {source}."
    return dump_yaml({"description": description, "parameters": _nested(entries)})


def _entry(found: Parameter, fit: Fit, source: str) -> dict[str, str]:
    """Return the value and the source of one number."""
    value = found.text
    signed = found.key in SIGNED or found.key.startswith(("response.", "error."))
    polynomial = found.key == "error_sigma" and fit.forms.get("error") == "polynomial"
    if found.value < 0 and not signed and not polynomial:
        value = f"0 {found.unit}".strip()
    error = f"{found.error / found.scale:.3g} {found.unit}".strip()
    said = found.interval if found.bound else f"standard error {error}"
    return {"value": value, "source": f"fit of {source}: {said}"}


def _nested(entries: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return flat keys in a preset's form: numbers of forms below their form, which comes first."""
    parameters: dict[str, Any] = {}
    for key, entry in entries.items():
        top, _, part = key.partition(".")
        if part:
            values = entry["value"].split(", ")
            value = values if len(values) > 1 else values[0]
            parameters[top][part] = {"value": value, "source": entry["source"]}
        elif top in FORMS:
            parameters[top] = {"form": entry["value"], "source": entry["source"]}
        else:
            parameters[key] = dict(entry)
    return parameters
