"""Prices and sums."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from madem.errors import InputError
from madem.ledger import Event, Ledger, lasting, load_prices, priced, totals, uncounted


def test_joules_are_counts_and_watts_times_prices() -> None:
    ledger = Ledger()
    ledger(Event("array read", 3.0, torch.tensor([2e-3, 4e-3])))  # two chips, W summed over reads
    ledger(Event("output conversion", 10.0))
    ledger(Event("output conversion", 5.0))
    rows = {row["item"]: row for row in ledger.rows(load_prices())}
    assert rows["array read"]["joules"] == pytest.approx(3e-3 * 10e-9)
    assert rows["array read"]["seconds"] == pytest.approx(3 * 10e-9)
    assert rows["output conversion"]["joules"] == pytest.approx(15 * 1.67e-12)
    assert rows["array read"]["duration"] == 10e-9
    sums = totals(list(rows.values()))
    assert sums["array_only"]["joules"] == pytest.approx(3e-11)
    assert sums["all_in"]["joules"] == pytest.approx(3e-11 + 15 * 1.67e-12)


def test_a_duration_from_elsewhere_changes_power_times_time_and_nothing_else() -> None:
    ledger = Ledger()
    ledger(Event("array read", 3.0, 6e-3))
    ledger(Event("neuron settling", 5.0))
    ledger(Event("pulse", 2.0))
    prices = lasting(load_prices(), {"array read": 4e-9, "neuron settling": 2e-9}, "the circuit")
    rows = {row["item"]: row for row in ledger.rows(prices)}
    assert rows["array read"]["joules"] == pytest.approx(6e-3 * 4e-9)
    assert rows["array read"]["seconds"] == pytest.approx(3 * 4e-9)
    assert rows["neuron settling"]["joules"] == pytest.approx(5 * 1e-4 * 2e-9)
    assert rows["neuron settling"]["seconds"] == 0
    assert rows["array read"]["assumption"] == "the circuit"
    before = {row["item"]: row for row in ledger.rows(load_prices())}
    assert rows["pulse"] == before["pulse"]


def test_nothing_is_free_by_omission() -> None:
    ledger = Ledger()
    ledger(Event("array reed", 1.0))
    with pytest.raises(InputError, match="no price for 'array reed': did you mean 'array read'"):
        ledger.rows(load_prices())


def test_totals_at_a_look_are_priced_as_they_were() -> None:
    ledger = Ledger()
    ledger(Event("array read", 3.0, torch.tensor([2e-3, 4e-3])))
    ledger(Event("pulse", torch.tensor([1.0, 4.0])))
    then, rows = ledger.mean(), ledger.rows(load_prices())
    ledger(Event("pulse", 5.0))
    assert then["array read"] == (3.0, pytest.approx(3e-3))
    assert then["pulse"] == (2.5, 0.0)
    assert priced(json.loads(json.dumps(then)), load_prices()) == rows
    assert ledger.rows(load_prices()) != rows


def test_totals_do_not_depend_on_what_was_heard_first() -> None:
    """A resumed run hears items in another order, and writes the same bytes."""
    ledgers = Ledger(), Ledger()
    for ledger, items in zip(
        ledgers, (("pulse", "array read"), ("array read", "pulse")), strict=True
    ):
        for item in items:
            ledger(Event(item, 2.0))
    first, second = (json.dumps(ledger.mean()) for ledger in ledgers)
    assert first == second


def test_what_is_not_counted_is_said_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs/ledger.md").read_text()
    assert len(uncounted()) >= 5
    for name, why in uncounted().items():
        assert f"*{name}*" in text
        assert len(why) > 30
        assert name not in load_prices()


def test_every_price_has_a_source_and_a_use() -> None:
    for price in load_prices().values():
        assert price.source
        assert price.node == "not stated" or price.node.endswith(" nm")
        assert price.joules or price.duration  # watts of the item, or of its events
        assert price.domain in ("array", "periphery", "digital")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {domain: array, joules: 1 pJ}", "source is missing"),
        ("a: {domain: array, joules: 1, source: x}", "joules: '1' needs a unit"),
        ("a: {domain: aray, joules: 1 pJ, source: x}", "did you mean 'array'"),
        ("a: {domain: array, joule: 1 pJ, source: x}", "did you mean 'joules'"),
        ("a: {domain: array, joules: -1 pJ, source: x}", "joules must be zero or positive, but is"),
        ("a: 1 pJ", "price of 'a' must hold domain and source, but is '1 pJ'"),
        ("a: {domain: array, source: x}\na: {domain: digital, source: y}", "'a' is there twice"),
        ("[1]", "is not YAML of keys and values"),
    ],
)
def test_bad_prices(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        load_prices(file)


def test_what_was_heard_is_taken_out_and_put_back() -> None:
    ours, other = Ledger(), Ledger()
    ours(Event("array read", torch.tensor([1.0, 3.0]), 2e-6))
    ours(Event("output conversion", 32.0))
    other(Event("pulse", 1.0))
    other.restore(ours.state())
    assert other.mean() == ours.mean() == {"array read": (2.0, 2e-6), "output conversion": (32, 0)}
    other(Event("output conversion", 1.0))
    assert other.mean()["output conversion"] == (33.0, 0.0)
