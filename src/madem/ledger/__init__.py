"""Joules and seconds, itemised."""

from madem.ledger.ledger import (
    Event,
    Ledger,
    Price,
    lasting,
    load_prices,
    priced,
    totals,
    uncounted,
)

__all__ = ["Event", "Ledger", "Price", "lasting", "load_prices", "priced", "totals", "uncounted"]
