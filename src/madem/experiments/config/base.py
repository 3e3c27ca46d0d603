"""How values become a config, or are refused in one line."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from madem.documents import load_yaml
from madem.errors import InputError, nearest, shown
from madem.memory import refuse_memory


class Strict(BaseModel):
    """A part of the config: frozen, and without keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes a run takes at least, by the keys that set them."""
        return {}


Made = TypeVar("Made", bound=Strict)


def made(model: type[Made], values: Mapping[str, Any]) -> Made:
    """Return the ``model`` that ``values`` describe, or raise ``InputError`` in one line.

    Types are those of JSON, exactly: ``"3"`` and ``true`` are no numbers. What needs more memory
    than there is gets refused before any is taken.
    """
    try:
        config = model.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise InputError(explain(error, model)) from None
    refuse_memory(config.needs())
    return config


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return one line on the first fault that pydantic found in values for ``model``."""
    fault = error.errors()[0]
    path = [str(part) for part in fault["loc"]]
    field = ".".join(path)
    if fault["type"] == "extra_forbidden":
        return f"unknown key {shown(field)}: {nearest(path[-1], _keys(path[:-1], model))}"
    if fault["type"] == "literal_error":
        allowed = re.findall(r"'([^']+)'", fault["ctx"]["expected"])
        given = shown(fault["input"])
        return f"{field}: unknown name {given}: {nearest(str(fault['input']), allowed)}"
    if fault["type"] == "value_error":
        return f"{field}: {fault['ctx']['error']}" if field else str(fault["ctx"]["error"])
    message = fault["msg"].replace("valid array", "list").replace("an object", "keys and values")
    message = re.sub(r"0\.0{4,}\d+|\d{7,}(\.0)?", lambda found: f"{float(found[0]):g}", message)
    return f"{field}: {message[0].lower() + message[1:]}, but is {shown(fault['input'])}"


def _keys(path: list[str], model: Any) -> list[str]:
    """Return the keys of ``model`` allowed at ``path``."""
    for part in path:
        held = model.model_fields[part].annotation
        model = next((m for m in getattr(held, "__args__", ()) if m is not type(None)), held)
    return list(model.model_fields)


def merged(held: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``held`` with every key of ``values`` in its place, key by key.

    >>> merged({"chip": {"arrays": 2, "lines": 64}}, {"chip": {"lines": 32}})
    {'chip': {'arrays': 2, 'lines': 32}}
    """
    whole = dict(held)
    for key, value in values.items():
        under = whole.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        whole[key] = merged(under, value) if both else value  # type: ignore[arg-type]
    return whole


def override(values: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Return ``values`` with each ``key.of.field=value`` set; values are read as YAML.

    >>> override({}, ["chip.adc_bits=6", "classify.one_layer.threshold=10 uS"])["chip"]
    {'adc_bits': 6}
    """
    result = copy.deepcopy(values)
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign or not all(key.split(".")):
            raise InputError(f"--set takes key=value, but is {shown(setting)}")
        *parents, last = key.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise InputError(f"--set: unknown key {shown(key)}: {shown(parent)} has no parts")
        place[last] = load_yaml(text, f"--set {key[:60]}={shown(text)}")
    return result
