"""The wires of a crossbar: what its lines, drivers and sense inputs resist.

How a crossbar with wires is solved is told in ``solver/wires.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from madem.errors import InputError

Conductances = tuple[float, float, float, float]
"""Those of the wires, S: of a segment of a word and of a bit line, of a driver, a sense input."""


@dataclass(frozen=True)
class Wires:
    """Resistances, ohm: of a segment of a word and of a bit line, of a driver and of a sense input.

    Raises ``InputError`` for what is not positive and finite.

    >>> Wires(word=2.0, bit=0.0)
    Traceback (most recent call last):
    ...
    madem.errors.InputError: bit must be a positive, finite resistance in ohm, but is 0.0
    """

    word: float = 2.0
    bit: float = 2.0
    drive: float = 2.0
    sense: float = 2.0

    def __post_init__(self) -> None:
        """Refuse wires that are none."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value > 0 and math.isfinite(value)):
                raise InputError(
                    f"{field.name} must be a positive, finite resistance in ohm, but is {value}"
                )

    @property
    def conductances(self) -> Conductances:
        """Their conductances, S."""
        return 1 / self.word, 1 / self.bit, 1 / self.drive, 1 / self.sense

    @property
    def transposed(self) -> Wires:
        """The same wires, read the other way: bit lines driven, word lines sensed."""
        return Wires(self.bit, self.word, self.sense, self.drive)
