"""Joules and seconds, itemised."""

from madem.ledger.ledger import Event, Ledger, Price, lasting, load_prices, totals

__all__ = ["Event", "Ledger", "Price", "lasting", "load_prices", "totals"]
