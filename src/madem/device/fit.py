"""From the lab bench: files of measurements to a fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from madem.device.fitting import Fit
from madem.device.noise import fit_noise
from madem.device.programming import fit_errors
from madem.device.pulses import fit_pulses
from madem.device.reader import label
from madem.device.retention import fit_retention
from madem.device.tables import Table, read_table, trains_of
from madem.errors import InputError

KINDS: dict[str, Callable[[Table], Fit]] = {
    "errors": fit_errors,
    "noise": fit_noise,
    "retention": fit_retention,
}
MOST_PULSES = 50_000
"""A fit follows every pulse some hundred times."""


def fit_files(
    paths: Sequence[Path],
    told: Callable[[str], None] = lambda _: None,
    read_voltage: float | None = None,
) -> Fit:
    """Fit the model that the columns of one file, or a set and a reset file, call for.

    ``told`` hears what is being done; ``read_voltage``, V, divides currents. The first notes of the
    fit say how each file was read. Raises ``InputError`` for data that cannot be used or do not
    determine the model, saying what is missing.
    """
    if len(paths) > 2:
        raise InputError(f"give one file, or a set and a reset file, not {len(paths)} files")
    for path in paths:
        if path.suffix in (".yaml", ".yml"):
            raise InputError(f"{label(path)!r} is a preset or a config, not measurements: give a "
                             "text file with columns, as CSV")  # fmt: skip
    tables = [read_table(path, read_voltage) for path in paths]
    for table in tables:
        if len(tables) == 2 and table.kind != "repeats":
            raise InputError(
                f"{table.name!r}: two files are a set and a reset file, with a column of reads a "
                "repeat and no others"
            )
        if len(tables) == 1 and table.kind == "repeats":
            raise InputError(
                f"{table.name!r} has no column direction or time: add one, or give a set and a "
                "reset file together, with a column per repeat"
            )
    fitted = KINDS.get(tables[0].kind)
    if fitted is None:
        trains = trains_of(tables)
        if trains.valid.sum() > MOST_PULSES:
            raise InputError(
                f"{tables[0].name!r} holds {trains.valid.sum():,} pulses: a fit takes at most "
                f"{MOST_PULSES:,}; give fewer devices or shorter trains"
            )
    fit = fitted(tables[0]) if fitted else fit_pulses(trains, told)
    return replace(fit, notes=[*(table.found for table in tables), *fit.notes])
