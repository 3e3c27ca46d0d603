"""What the columns of a file of measurements hold, from the words and units of its header.

A heading is a name and a unit: ``conductance_uS``, ``Conductance (µS)``, ``G [uS]``, ``up / nS``.
Upper and lower case are the same but for the prefixes m (milli) and M (mega).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from madem.errors import nearest, shown

PREFIXES = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
CLOCK = {"min": 60.0, "h": 3600.0, "day": 86400.0}
SPELLED = {
    "s": "sec secs second seconds", "min": "mins minute minutes", "h": "hr hrs hour hours",
    "day": "d days", "S": "siemens", "ohm": "ohms", "A": "amp amps ampere amperes",
    "V": "volt volts",
}  # fmt: skip
UNITS = {
    "conductance": {f"{p}S": PREFIXES[p] for p in ("", "m", "u", "n", "p")},
    "resistance": {f"{p}ohm": PREFIXES[p] for p in ("", "k", "M", "G")},
    "current": {f"{p}A": PREFIXES[p] for p in ("", "m", "u", "n", "p")},
    "voltage": {f"{p}V": PREFIXES[p] for p in ("", "m", "u")},
    "time": {f"{p}s": PREFIXES[p] for p in ("n", "u", "m", "")} | CLOCK,
}
READS = ("conductance", "resistance", "current")
"""What a memristor's read may be given as."""

NAMES = {
    "conductance": "conductance|g|cond",
    "resistance": "resistance|r",
    "current": "current|i|read current|i read|iread",
    "voltage": "voltage|v|read voltage|v read|vread",
    "up": "up|set|ltp|potentiation",
    "down": "down|reset|ltd|depression",
    "target": "target|target conductance|conductance target|g target",
    "read": "read|readback|read back|measured",
    "time": "time|t|elapsed time|time elapsed|elapsed",
    "device": "device|cell|dut|device id|cell id|device number|cell number|device name"
    "|device no|cell no",
    "direction": "direction|polarity|pulse type|pulse direction|operation",
    "pulse": "pulse|pulses|pulse number|pulse no|pulse nr|pulse index|pulse count|number|no|nr"
    "|index|n|#",
}
ROLES = {name: role for role, names in NAMES.items() for name in names.split("|")}
TEXTS = ("device", "direction", "pulse")
KINDS_OF = {kind: (kind,) for kind in UNITS}
"""Roles of one kind of unit; all others are reads in any."""


@dataclass(frozen=True)
class Column:
    """One column: its heading, what it is for, and what takes its numbers to SI units.

    ``role``: ``conductance``, ``up``, ``down``, ``target``, ``read``, ``time``, ``voltage``,
    ``device``, ``direction``, ``pulse``; ``other`` for reads under any other name, ``unnamed``, or
    ``unused``. ``kind``: of the unit, a key of ``UNITS``. ``fault``: what is wrong with it, or "".
    """

    head: str
    role: str
    kind: str = ""
    unit: str = ""
    scale: float = 1.0
    fault: str = ""

    @property
    def is_read(self) -> bool:
        """Whether it holds reads of memristors, in whatever unit."""
        return self.kind in READS and not self.fault and self.role != "unused"


def column(head: str) -> Column:
    """Return what a column under the heading ``head`` holds.

    >>> column("Conductance (µS)")
    Column(head='Conductance (µS)', role='conductance', kind='conductance', unit='uS', scale=1e-06, fault='')
    >>> column("time_hours").scale, column("R / kΩ").kind, column("cell0_uS").role
    (3600.0, 'resistance', 'other')
    >>> column("up_MS").fault
    "column 'up_MS': no unit of it is 'MS' (allowed: S, mS, uS, nS, pS, ohm, kohm, Mohm, Gohm, A, mA, uA, nA, pA; M is mega, m is milli)"
    """  # noqa: E501
    plain = unicodedata.normalize("NFKC", head).strip()
    role = ROLES.get(_words(plain)) if plain else "unnamed"
    if role in (*TEXTS, "unnamed"):
        return Column(head, str(role))
    if role is not None:
        unit = {"time": "s", "resistance": "ohm", "current": "A", "voltage": "V"}.get(role, "uS")
        return Column(
            head, role, fault=f"column {shown(head)} has no unit: {plain}_{unit}, with one of "
            f"{_listed(KINDS_OF.get(role, READS))}",
        )  # fmt: skip
    name, unit = name_and_unit(plain)
    role = ROLES.get(_words(name), "other")
    return _strange(head, name, unit) if role in ("other", "pulse") else _named(head, role, unit)


def _named(head: str, role: str, unit: str) -> Column:
    """Return a column whose name is known."""
    kinds = KINDS_OF.get(role, READS)
    found = find_units(unit, (*kinds, "voltage") if role == "read" else kinds)
    if not found and role == "time" and len(name_and_unit(head)[0]) == 1:  # T (K) is no time
        return Column(head, "unused")
    if not found:
        case = "; M is mega, m is milli" if unit[:1] in ("m", "M") else ""
        fault = f"no unit of it is {shown(unit)} (allowed: {_listed(kinds)}{case})"
        return Column(head, role, fault=f"column {shown(head)}: {fault}")
    role = {"resistance": "conductance", "current": "conductance"}.get(role, role)
    return Column(head, "voltage" if found[0][0] == "voltage" else role, *found[0])


def _strange(head: str, name: str, unit: str) -> Column:
    """Return a column whose name is not known: reads, of any unit of them, or not used."""
    found = [each for each in find_units(unit) if len(unit) > 1 or each[1] == unit]
    if len(found) > 1:
        both = " or ".join(each[1] for each in found)
        fault = f"column {shown(head)}: {shown(unit)} could be {both}: write which"
        return Column(head, "unused", fault=fault)
    kind = found[0][0] if found else ""
    if kind in READS and name and ROLES.get(_words(name)) != "pulse":
        return Column(head, "other", *found[0])
    return Column(head, "unused", kind)


def find_units(text: str, kinds: Iterable[str] = tuple(UNITS)) -> list[tuple[str, str, float]]:
    """Return kind, name and SI value of every unit among ``kinds`` that ``text`` may mean.

    >>> find_units("µS"), find_units("US"), find_units("hours")
    ([('conductance', 'uS', 1e-06)], [('conductance', 'uS', 1e-06), ('time', 'us', 1e-06)], [('time', 'h', 3600.0)])
    """  # noqa: E501
    plain = unicodedata.normalize("NFKC", text).strip().replace("\u03bc", "u")
    plain = plain.replace("\u03a9", "ohm")
    for unit, words in SPELLED.items():
        plain = unit if plain.lower() in words.split() else plain
    plain = plain.lower() if plain.lower() in CLOCK else plain
    folded = _fold(plain)
    known = [each for kind in kinds for each in FOLDED.get((kind, folded), [])]
    exact = [each for each in known if each[1] == plain]
    return exact or known


def advise(column_: Column) -> str:
    """Return what to do about a column that no layout has a place for."""
    said = f"column {shown(column_.head)}"
    if column_.kind == "voltage":
        return (
            f"{said} holds voltages: for pulses write a column direction (start, up, down) from "
            "the sign of the pulse; a read voltage is named voltage_V"
        )
    if column_.role == "other":
        name = _words(name_and_unit(column_.head)[0])
        reads = [role for role in NAMES if role not in (*TEXTS, "voltage")]
        return f"{said}: no layout has a column {shown(name)}: {nearest(name, reads)}"
    return f"{said} is not used: remove it"


def _words(name: str) -> str:
    """Return a name in lower case, its words apart."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return " ".join(re.split(r"[\W_]+", apart.lower())).strip() or name.strip()


def name_and_unit(head: str) -> tuple[str, str]:
    """Split a heading at its unit, which stands in brackets or comes last.

    >>> name_and_unit("cell 3 (uS)"), name_and_unit("G / nS")
    (('cell 3', 'uS'), ('G', 'nS'))
    """
    within = re.search(r"[(\[{]\s*([^()\[\]{}]*?)\s*[)\]}]", head)
    if within:
        return f"{head[: within.start()]} {head[within.end() :]}".strip(), within[1]
    *name, unit = re.split(r"[_\s/,:.-]+", head.strip("_ /,:.-"))
    return " ".join(name), unit


def _fold(unit: str) -> str:
    """Return a unit without case, which only an m or M in front may keep."""
    return unit[:1] + unit[1:].lower() if unit[:1] in ("m", "M") else unit.lower()


FOLDED = {
    (kind, _fold(unit)): [(kind, unit, scale)]
    for kind, units in UNITS.items()
    for unit, scale in units.items()
}


def _listed(kinds: Iterable[str]) -> str:
    return ", ".join(unit for kind in kinds for unit in UNITS[kind])
