"""What the keys of a config may hold, and how values become one or are refused in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from madem.data.braille import checked_words, read_words
from madem.errors import InputError, nearest, shown
from madem.memory import refuse_memory
from madem.units import parse


def quantity(unit: str, positive: bool = False) -> BeforeValidator:
    """Return what checks text of a number with a unit, zero or positive, and keeps it as it is."""

    def check(value: object) -> str:
        number = parse(value, unit)
        if number < 0 or (positive and not number):
            sign = "positive" if positive else "zero or positive"
            raise ValueError(f"must be {sign}, but is {shown(value)}")
        return str(value)

    return BeforeValidator(check)


def _words(words: tuple[str, ...], info: Any) -> tuple[str, ...]:
    """Check words as those of a file, against the ``letters`` of the config where it has them."""
    try:
        return checked_words(words, info.data.get("letters", LETTERS), "")
    except InputError as error:
        raise ValueError(str(error).strip()) from None


LETTERS = 1000
"""The longest word, in Braille cells."""

Conductance = Annotated[str, quantity("siemens")]
"""A number with its unit, such as ``"150 uS"``; kept as it was written."""

Unit = Annotated[str, quantity("siemens", positive=True)]
"""A conductance above zero."""

Resistance = Annotated[str, quantity("ohm", positive=True)]
Seconds = Annotated[str, quantity("second", positive=True)]
Farads = Annotated[str, quantity("farad")]
Amperes = Annotated[str, quantity("ampere", positive=True)]

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Chips = Annotated[int, Field(ge=1, le=1_000_000)]
Steps = Annotated[int, Field(ge=1, le=1_000_000_000)]
Units = Annotated[int, Field(ge=1, le=1_000_000)]
Samples = Annotated[int, Field(ge=100, le=100_000_000)]
Positive = Annotated[float, Field(ge=1e-12, le=1e12)]
Amount = Annotated[float, Field(ge=0, le=1e6)]
Share = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=0.5)]
Letters = Annotated[int, Field(ge=1, le=LETTERS)]
Words = Annotated[
    tuple[str, ...],
    AfterValidator(_words),
    Field(default_factory=read_words, validate_default=True),
]
"""Different words that have Braille cells, the shipped ones by default; after ``letters``."""


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


def cells_need(chips: int, layers: Sequence[int], batch: int) -> dict[str, float]:
    """Return about how many bytes chips of fully joined ``layers`` take, and their activities.

    A weight has two cells, each with a state, a draw of its own (17 bytes) and what a write needs.

    >>> sum(cells_need(16, (60, 31, 32), 32).values()) < 1e8
    True
    """
    weights = sum((below + 1) * above for below, above in pairwise(layers))
    seen = 1000.0 * sum(layers[1:])  # what a look at each chip's accuracy settles at once
    return {
        "chips, the layers or their inputs": chips * (60.0 * weights + 12.0 * seen),
        "chips or batch": 12.0 * chips * batch * sum(layers),
    }
