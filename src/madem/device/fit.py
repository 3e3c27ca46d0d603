"""From the lab bench: files of measurements to a fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from madem.device.ensembles import fit_errors, fit_noise, fit_retention
from madem.device.fitting import Fit
from madem.device.pulses import fit_pulses
from madem.device.tables import Table, read_table, trains_of
from madem.errors import InputError

KINDS: dict[str, Callable[[Table], Fit]] = {
    "errors": fit_errors,
    "noise": fit_noise,
    "retention": fit_retention,
}


def fit_files(paths: Sequence[Path], told: Callable[[str], None] = lambda _: None) -> Fit:
    """Fit the model that the columns of one file, or a set and a reset file, call for.

    ``told`` hears what is being done. Raises ``InputError`` for data that cannot be used or do not
    determine the model, saying what is missing.
    """
    if len(paths) > 2:
        raise InputError(f"give one file, or a set and a reset file, not {len(paths)} files")
    tables = [read_table(path) for path in paths]
    if len(tables) == 2:
        for table in tables:
            if table.texts or "time" in table.numbers or "target" in table.numbers:
                raise InputError(
                    f"{table.name!r}: two files are a set and a reset file, with a column a repeat"
                )
        return fit_pulses(trains_of(tables), told)
    (table,) = tables
    if table.kind == "pulses":
        return fit_pulses(trains_of(tables), told)
    return KINDS[table.kind](table)
