"""The ledger: hears what the hardware did, multiplies by sourced prices, is never consulted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from madem.documents import load_keys, read_yaml, refuse_unknown
from madem.errors import InputError, nearest, shown
from madem.units import parse

Domain = Literal["array", "periphery", "digital"]
UNITS = {"joules": "joule", "watts": "watt", "duration": "second", "seconds": "second"}


@dataclass(frozen=True)
class Event:
    """Something the hardware did ``count`` times, on each chip (a number, or shape ``(chips,)``).

    ``watts`` is the power summed over those times, where the item dissipates in the cells.
    """

    item: str
    count: Tensor | float
    watts: Tensor | float = 0.0


@dataclass(frozen=True)
class Price:
    """What one event costs: ``joules``, ``seconds``, and for ``duration`` its power.

    The power is ``watts`` an event, and what the event itself says. SI units.
    ``domain`` is *array* for what the memristors themselves take, *periphery* for converters,
    neurons and write circuits, *digital* for arithmetic and memory. ``source`` says where the
    number is from, ``assumption`` what must be true for it to hold, ``node`` of which generation of
    silicon it is, such as ``"45 nm"``; ``unit`` what is counted.
    """

    item: str
    domain: Domain
    joules: float
    watts: float
    duration: float
    seconds: float
    source: str
    assumption: str
    node: str = ""
    unit: str = "events"


def load_prices(path: Path | None = None) -> dict[str, Price]:
    """Return the price of every item, from the shipped list or the user's YAML file.

    Every entry needs ``domain`` and ``source``; ``joules``, ``watts``, ``duration`` and ``seconds``
    carry units and are zero or positive. Raises ``InputError`` naming entry and key otherwise.

    >>> load_prices()["output conversion"].domain
    'periphery'
    """
    entries = _shipped("default") if path is None else read_yaml(path, "prices")
    return {item: _price(item, entry) for item, entry in entries.items()}


def _shipped(name: str) -> dict[str, Any]:
    """Return what the file ``name`` of the folder ``prices`` holds."""
    text = files("madem.ledger").joinpath(f"prices/{name}.yaml").read_text()
    return load_keys(text, f"prices/{name}.yaml")


def _price(item: str, entry: object) -> Price:
    allowed = {"domain", "source", "assumption", "node", "unit", *UNITS}
    if not isinstance(entry, dict):
        raise InputError(f"price of {item!r} must hold domain and source, but is {shown(entry)}")
    refuse_unknown(entry, allowed, f"price of {item!r}")
    if not entry.get("source"):
        raise InputError(f"price of {item!r}: source is missing")
    if entry.get("domain") not in get_args(Domain):
        raise InputError(
            f"price of {item!r}: domain is {entry.get('domain')!r}: "
            f"{nearest(str(entry.get('domain')), get_args(Domain))}"
        )
    numbers = {
        key: parse(entry[key], unit, f"price of {item!r}: {key}") if key in entry else 0.0
        for key, unit in UNITS.items()
    }
    for key, number in numbers.items():
        if number < 0:
            raise InputError(
                f"price of {item!r}: {key} must be zero or positive, but is {shown(entry[key])}"
            )
    return Price(
        item=item,
        domain=entry["domain"],
        source=str(entry["source"]),
        assumption=str(entry.get("assumption", "")),
        node=str(entry.get("node", "")),
        unit=str(entry.get("unit", "events")),
        **numbers,
    )


def lasting(
    prices: Mapping[str, Price], durations: Mapping[str, float], assumption: str
) -> dict[str, Price]:
    """Return ``prices`` with the ``durations``, s, of some items, known from ``assumption``.

    Where an item takes seconds, they are its duration.

    >>> lasting(load_prices(), {"array read": 2e-9}, "measured")["array read"].seconds
    2e-09
    """
    changed = {
        item: replace(
            prices[item],
            duration=duration,
            seconds=duration if prices[item].seconds else 0.0,
            assumption=assumption,
        )
        for item, duration in durations.items()
    }
    return {**prices, **changed}


Spent = Mapping[str, Sequence[Tensor | float]]
"""What a chip has done so far: by item its count and its watts, each a number or one per chip."""


class Ledger:
    """Counts events per chip; a listener for a machine.

    >>> ledger = Ledger()
    >>> ledger(Event("output conversion", 32.0))
    >>> ledger.rows(load_prices())[0]["count"]
    32.0
    """

    def __init__(self) -> None:
        """Start empty."""
        self.totals: dict[str, tuple[Tensor | float, Tensor | float]] = {}

    def __call__(self, event: Event) -> None:
        """Add one event; ``totals[item]`` is its count and its watts, a chip."""
        count, watts = self.totals.get(event.item, (0.0, 0.0))
        self.totals[event.item] = count + _double(event.count), watts + _double(event.watts)

    def state(self) -> dict[str, Tensor]:
        """Return the totals, ``count.ITEM`` and ``watts.ITEM``, for ``restore``."""
        return {
            f"{part}.{item}": torch.as_tensor(total, dtype=torch.float64)
            for item, parts in self.totals.items()
            for part, total in zip(("count", "watts"), parts, strict=True)
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned, in place of what was heard until now."""
        items = [key.removeprefix("count.") for key in state if key.startswith("count.")]
        self.totals.clear()
        self.totals.update({i: (state[f"count.{i}"], state[f"watts.{i}"]) for i in items})

    def mean(self) -> dict[str, tuple[float, float]]:
        """Return the totals so far, mean over chips, by item: its count and its watts.

        In the order of names, whatever was heard first, so that a resumed run writes the same.
        """
        return {item: (_mean(count), _mean(w)) for item, (count, w) in sorted(self.totals.items())}

    def rows(self, prices: Mapping[str, Price]) -> list[dict[str, float | str]]:
        """Return what ``priced`` makes of the totals so far."""
        return priced(self.totals, prices)


def _double(value: Tensor | float) -> Tensor | float:
    return value.double() if isinstance(value, Tensor) else value


def _mean(value: Tensor | float) -> float:
    return float(torch.as_tensor(value, dtype=torch.float64).mean())


def priced(spent: Spent, prices: Mapping[str, Price]) -> list[dict[str, float | str]]:
    """Return one row per item: mean over chips of count, joules and seconds, with origin.

    ``joules`` are ``count`` times ``joules_each``, and ``watts``, the power summed over all that
    was counted, times ``duration``, s, which is zero where the price is in joules alone. ``unit``:
    what is counted.

    Raises ``InputError`` for an event that has no price: nothing is free by omission.
    """
    for item in spent:
        if item not in prices:
            raise InputError(f"no price for {item!r}: {nearest(item, prices)}")
    rows: list[dict[str, float | str]] = []
    for item in (item for item in prices if item in spent):
        price = prices[item]
        count, watts = (_mean(part) for part in spent[item])
        power = count * price.watts + watts
        rows.append(
            {
                "item": item,
                "domain": price.domain,
                "node": price.node,
                "count": count,
                "unit": price.unit,
                "joules_each": price.joules,
                "watts": power,
                "joules": count * price.joules + power * price.duration,
                "seconds": count * price.seconds,
                "duration": price.duration,
                "source": price.source,
                "assumption": price.assumption,
            }
        )
    return rows


def uncounted() -> dict[str, str]:
    """Return what no total holds, by name, and why.

    >>> "leakage" in uncounted()
    True
    """
    return _shipped("uncounted")


def totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return joules and seconds of the array alone, and of everything.

    >>> totals([{"item": "a", "domain": "digital", "joules": 2.0, "seconds": 1.0}])["array_only"]
    {'joules': 0.0, 'seconds': 0.0}
    """
    kept = {
        "array_only": [row for row in rows if row["domain"] == "array"],
        "all_in": rows,
    }
    return {
        name: {key: float(sum(row[key] for row in part)) for key in ("joules", "seconds")}
        for name, part in kept.items()
    }
