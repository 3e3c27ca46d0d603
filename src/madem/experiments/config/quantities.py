"""What the keys of a config may hold: quantities with units, counts, shares, words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from madem.data.braille import checked_words, read_words
from madem.errors import InputError, shown
from madem.units import parse

WRITTEN = WithJsonSchema({
    "type": "string",
    "pattern": r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s?"
               r"([A-Za-z\u00b5\u03bc\u2126\u03a9%]+|1/[A-Za-z\u00b5\u03bc]+(\*\*2)?)\s*$",
})  # fmt: skip
"""What JSON schemas say of a number with its unit: which unit, they cannot."""


def quantity(
    unit: str, positive: bool = False, signed: bool = False, word: str | None = None
) -> BeforeValidator:
    """Return what checks text of a number with a unit, and keeps it as it is.

    The number must be zero or positive; above zero where ``positive``; any where ``signed``.
    ``word``: what may stand for a number.
    """

    def check(value: object) -> str:
        if value == word and word is not None:
            return word
        number = parse(value, unit)
        if not signed and (number < 0 or (positive and not number)):
            sign = "positive" if positive else "zero or positive"
            raise ValueError(f"must be {sign}, but is {shown(value)}")
        return str(value)

    return BeforeValidator(check)


Each = TypeVar("Each")


def _rising(levels: tuple[Any, ...]) -> tuple[Any, ...]:
    sizes = [parse(each, "siemens") if isinstance(each, str) else each for each in levels]
    if len(sizes) < 2:
        raise ValueError(f"must be at least two levels, the first 0, but is {shown(list(levels))}")
    if sizes[0] or sorted(set(sizes)) != sizes:
        raise ValueError(f"must begin with 0 and rise, but is {shown(list(levels))}")
    return levels


def _different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    names = [getattr(value, "kind", value) for value in values]
    if len(set(names)) < len(names):
        raise ValueError(f"each can be given once, but is {shown(names)}")
    return values


Rising = Annotated[tuple[Each, ...], AfterValidator(_rising)]
"""Levels, conductances or numbers, that begin with none and rise."""

Different = Annotated[tuple[Each, ...], AfterValidator(_different), Field(min_length=1)]
"""Values, or parts of different kinds, each of which can be given once."""


def _words(words: tuple[str, ...], info: Any) -> tuple[str, ...]:
    """Check words as those of a file, against the ``letters`` of the config where it has them."""
    try:
        return checked_words(words, info.data.get("letters", LETTERS), "")
    except InputError as error:
        raise ValueError(str(error).strip()) from None


LETTERS = 1000
"""The longest word, in Braille cells."""

Conductance = Annotated[str, quantity("siemens"), WRITTEN]
"""A number with its unit, such as ``"150 uS"``; kept as it was written."""

Unit = Annotated[str, quantity("siemens", positive=True), WRITTEN]
"""A conductance above zero."""

Resistance = Annotated[str, quantity("ohm", positive=True), WRITTEN]
Seconds = Annotated[str, quantity("second", positive=True), WRITTEN]
Lasting = Annotated[str, quantity("second", positive=True, word="auto")]
"""A time above zero, or *auto*."""

Farads = Annotated[str, quantity("farad"), WRITTEN]
Amperes = Annotated[str, quantity("ampere", positive=True), WRITTEN]

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Steps = Annotated[int, Field(ge=1, le=1_000_000_000)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Samples = Annotated[int, Field(ge=100, le=100_000_000)]
Positive = Annotated[float, Field(ge=1e-12, le=1e12)]
Amount = Annotated[float, Field(ge=0, le=1e6)]
Share = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=0.5)]
Letters = Annotated[int, Field(ge=1, le=LETTERS)]
Listed = Annotated[tuple[str, ...], AfterValidator(_words)]
"""Different words that have Braille cells; after ``letters``."""

Words = Annotated[Listed, Field(default_factory=read_words, validate_default=True)]
"""Likewise, the shipped ones by default."""


def cells_need(chips: int, layers: Sequence[int], batch: int, where: str = "") -> dict[str, float]:
    """Return about how many bytes chips of fully joined ``layers`` take, and their activities.

    By the keys that set them; ``where``: in front of that of the chips.

    A weight has two cells, each with a state, a draw of its own (17 bytes) and what a write needs.

    >>> sum(cells_need(16, (60, 31, 32), 32).values()) < 1e8
    True
    """
    weights = sum((below + 1) * above for below, above in pairwise(layers))
    seen = 1000.0 * sum(layers[1:])  # what a look at each chip's accuracy settles at once
    return {
        f"{where}chips, the network or its inputs": chips * (60.0 * weights + 12.0 * seen),
        f"{where}chips or batch": 12.0 * chips * batch * sum(layers),
    }
