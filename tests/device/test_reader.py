"""Whatever a file holds, it is a table or one line of refusal, and never anything else."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from madem.device.columns import column
from madem.device.headers import number
from madem.device.tables import read_table, trains_of
from madem.errors import InputError

FIELD = Path(__file__).parent / "field"
SEEDS = [
    *(path.read_bytes()[:600].rpartition(b"\n")[0] for path in sorted(FIELD.glob("*/*"))),
    "device;time_s;read_uS\n1;0,5;50,25\n1;1;51\n2;0,5;49,1\n".encode("utf-16"),
    b"target_ohm\tread_ohm\n1E5\t9.9E37\n2E4\t1.9E4\n",
    b'"pulse","set 1 (nS)","set 2 (nS)"\n1,20,21\n2,25,\n',
]
PIECES = [
    b",", b";", b"\t", b"|", b"  ", b"\n", b"\r", b"\r\n", b'"', b"#", b"%", b"//", b"\0", b"\xff",
    b"\xb5", b"\xef\xbb\xbf", b"\xff\xfe", b"nan", b"9.91E37", b"-999", b"1e999", b"1,5", b"1.2,5",
    b"-", b".", b"_", b"(uS)", b"uS", b"time_s", b"device", b"direction", b"up_uS", b"down_uS",
    b"SET", b"R (kohm)", b"I [A]", b"voltage_V", b"0", b"1e-320", b"1" * 400, b"a" * 5000,
    "٣".encode(),
]  # fmt: skip
WAYS = ("insert", "replace", "swap", "cut", "drop", "repeat", "byte")


def changed(seed: int) -> bytes:
    """One of the seeds, with up to six changes drawn from ``seed``."""
    draws = Random(seed)
    held = draws.choice(SEEDS)
    for _ in range(draws.randrange(7)):
        at, piece = draws.randrange(len(held) + 1), draws.choice(PIECES)
        lines = held.split(b"\n")
        line = draws.randrange(len(lines))
        held = {
            "insert": held[:at] + piece + held[at:],
            "replace": held[:at] + piece + held[at + len(piece) :],
            "swap": held.replace(piece, draws.choice(PIECES))[:20_000],
            "cut": held[:at],
            "drop": b"\n".join(lines[:line] + lines[line + 1 :]),
            "repeat": b"\n".join(lines + lines[line:])[:20_000],
            "byte": held[:at] + draws.randbytes(8) + held[at:],
        }[draws.choice(WAYS)]
    return held


def is_read_or_refused(path: Path, content: bytes) -> bool:
    """Whether a table came of it; a refusal is one line."""
    path.write_bytes(content)
    try:
        table = read_table(path, None)
    except InputError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 400 + len(str(path))
        return False
    for values in table.numbers.values():
        assert not (values < 0).any() or table.kind == "noise"
        assert np.isfinite(values).all() or table.kind in ("pulses", "repeats")
    if table.kind == "pulses":
        assert np.isfinite(trains_of([table]).reads).all()
    return True


def fuzz(path: Path, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(st.integers(0, 2**64))
    def check(seed: int) -> None:
        start = time.process_time()
        is_read_or_refused(path, changed(seed))
        assert time.process_time() - start < 2

    check()


def test_changed_files_are_tables_or_refused(tmp_path: Path) -> None:
    fuzz(tmp_path / "a.csv", 300)


@pytest.mark.slow
def test_many_changed_files_are_tables_or_refused(tmp_path: Path) -> None:
    fuzz(tmp_path / "a.csv", 30_000)


def test_unchanged_seeds_are_read(tmp_path: Path) -> None:
    assert sum(is_read_or_refused(tmp_path / "a.csv", each) for each in SEEDS) == 16


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=60))
def test_any_heading_and_cell_is_answered(text: str) -> None:
    column(text)
    value = number(text)
    assert value is None or value == float(text.replace("\u2212", "-"))
