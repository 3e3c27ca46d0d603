"""How values become a config, or are refused in one line."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from madem.documents import load_yaml
from madem.errors import InputError, nearest, shown
from madem.memory import refuse_memory

Made = TypeVar("Made", bound="Strict")


class Strict(BaseModel):
    """A part of the config: frozen, and without keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def of(cls: type[Made], values: Mapping[str, Any]) -> Made:
        """Return the config that ``values`` describe, or raise ``InputError`` in one line.

        What is left out of a part has the default that the part has here. Types are those of JSON,
        exactly: ``"3"`` and ``true`` are no numbers. What needs more memory than there is gets
        refused before any is taken.
        """
        fields = cls.model_fields
        begun = {key: fields[key].get_default() for key in values if key in fields}
        parts = {k: v.model_dump(mode="json") for k, v in begun.items() if isinstance(v, BaseModel)}
        try:
            text = json.dumps(merged(parts, values), default=str)
            config = cls.model_validate_json(text, strict=True)
        except ValidationError as error:
            raise InputError(explain(error, cls)) from None
        refuse_memory(config.needs())
        return config

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes a run takes at least, by the keys that set them."""
        return {}


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return one line on the first fault that pydantic found in values for ``model``."""
    fault = error.errors()[0]
    path, inside = _walked(fault["loc"], model)
    field, given, said = ".".join(path), shown(fault["input"]), fault.get("ctx", {})
    keys = [key for one in inside for key in one.model_fields]
    match fault["type"]:
        case "extra_forbidden":
            _, around = _walked(fault["loc"][:-1], model)
            allowed = [key for one in around for key in one.model_fields]
            line = f"unknown key {shown(field)}: {nearest(path[-1], allowed)}"
        case "literal_error" | "union_tag_invalid":
            tag = str(said.get("tag", fault["input"]))
            allowed = re.findall(r"'([^' ]+)'", said.get("expected", said.get("expected_tags", "")))
            line = f"{field}: unknown name {shown(tag)}: {nearest(tag, allowed)}"
            if not tag.strip():
                line = f"{field}: must be a name or keys and values, but is {given}"
        case "union_tag_not_found":
            line = f"{field}.kind: missing {nearest('', _kinds(inside))}"
        case "missing":
            line = f"{field}: missing"
        case "value_error":
            line = placed(field, str(said["error"]), keys)
        case _:
            text = fault["msg"].replace("valid array", "list")
            text = text.replace("an object", "keys and values")
            text = re.sub(r"0\.0{4,}\d+|\d{7,}(\.0)?", lambda one: f"{float(one[0]):g}", text)
            line = f"{field}: {text[0].lower() + text[1:]}, but is {given}"
            if "list" in text and not isinstance(fault["input"], Mapping | None):
                line += f": write [{given}]"
    return line


def refuse_idle(
    config: BaseModel, keys: Iterable[str], where: str, error: type[ValueError] = ValueError
) -> None:
    """Raise ``error`` for a key that was changed, though it does nothing ``where``."""
    for key in keys:
        value = getattr(config, key)
        if value != type(config).model_fields[key].get_default():
            said = shown(value) if not isinstance(value, BaseModel) else "given"
            raise error(f"{key} does nothing where {where}, but is {said}: leave it out")


def placed(path: str, message: str, keys: Iterable[str]) -> str:
    """Return ``message`` on the part at ``path``, or on that of its ``keys`` that it begins with.

    >>> placed("solver", "budget must be at least 1, but is 0", ["tolerance", "budget"])
    'solver.budget: must be at least 1, but is 0'
    """
    first, _, rest = message.partition(" ")
    if first.rstrip(":") in keys:
        path, message = f"{path}.{first.rstrip(':')}".lstrip("."), rest
    told = not path or message.startswith((f"{path}.", f"{path}:"))
    return message if told else f"{path}: {message}"


def _walked(loc: Iterable[int | str], model: type[BaseModel]) -> tuple[list[str], list[Any]]:
    """Return the keys on the way to ``loc`` in ``model``, and the models that may be there.

    What pydantic puts between them, the kind that a value has and the type that one was tried as,
    is left out.
    """
    path: list[str] = []
    inside: list[Any] = [model]
    for each in loc:
        held = [one.model_fields[each] for one in inside if each in one.model_fields]
        if each in _kinds(inside) and (len(inside) > 1 or not held):
            inside = [one for one in inside if each in _kinds([one])]
        elif isinstance(each, int) or inside:
            path += [str(each)] if str(each).strip() else []
            if isinstance(each, str) and each.strip():
                inside = _models([part for one in held for part in (one.annotation, *one.metadata)])
    return path, inside


def _models(held: Any) -> list[Any]:
    """Return the models that a value annotated ``held`` may be."""
    if isinstance(held, type) and issubclass(held, BaseModel):
        return [held]
    found = list(held) if isinstance(held, list) else list(getattr(held, "models", {}).values())
    return list(dict.fromkeys(one for each in found or get_args(held) for one in _models(each)))


def _kinds(models: Iterable[Any]) -> list[str]:
    """Return the kinds that ``models`` have."""
    kinds = [one.model_fields["kind"].annotation for one in models if "kind" in one.model_fields]
    return [name for kind in kinds for name in get_args(kind)]


def merged(held: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``held`` with every key of ``values`` in its place, key by key.

    A part of another ``kind`` takes the place of the whole part.

    >>> merged({"chip": {"arrays": 2, "lines": 64}}, {"chip": {"lines": 32}})
    {'chip': {'arrays': 2, 'lines': 32}}
    """
    whole = dict(held)
    for key, value in values.items():
        under = whole.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            same = value.get("kind", under.get("kind")) == under.get("kind")
            whole[key] = merged(under if same else {}, value)
        else:
            whole[key] = value
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
