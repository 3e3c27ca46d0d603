"""Files as instruments write them: read as what they say, or refused in one line that says why."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from madem.device.fit import fit_files
from madem.device.tables import Table, read_table, trains_of
from madem.errors import InputError

FIELD = Path(__file__).parent / "field"
ROWS = [(15.0859, "start"), (17.2869, "up"), (20.0632, "up"), (18.5, "down"), (16.25, "down")]
PULSES = [value * 1e-6 for value, _ in ROWS]


def refused(path: Path, match: str, **more: float) -> None:
    with pytest.raises(InputError, match=match) as caught:
        fit_files([path], **more)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(path), path.name)) <= 300


def same(table: Table, reads: list[float], rtol: float = 1e-12) -> None:
    np.testing.assert_allclose(table.numbers["conductance"], reads, rtol=rtol)


SAME = (
    "micro-sign/b.csv", "unit-in-brackets/a.csv", "unit-in-brackets/b.csv", "delimiters/semi.csv",
    "delimiters/comma.csv", "delimiters/tab.txt", "comment-and-preamble/a.csv",
    "comment-and-preamble/b.csv", "resistance-or-current/r.csv", "resistance-or-current/i.csv",
    "instrument-words/a.csv", "instrument-words/b.csv",
)  # fmt: skip
REFUSED = {
    "no-header/a.csv": "the first line holds numbers, not column names: put e.g. up_uS,down_uS "
    "above it",
    "line-number-after-blank-lines/a.csv": "line 6: 'conductance_uS' must be a finite number",
    "instrument-words/c.csv": "write a column direction .* from the sign of the pulse",
    "instrument-words/d.csv": "column 'cycle' is not used: remove it$",
    "ltp-ltd-jump/a.csv": "the first value of down_nS .279.4. is far from the last of up_nS "
    ".5.457.: the second train did not start where the first ended; give rows "
    "conductance_nS,direction with a new start",
}


@pytest.mark.parametrize("name", [*SAME, *REFUSED, "wide-retention/a.csv"])
def test_every_case_of_the_field_is_read_or_refused_in_words(name: str) -> None:
    if name in REFUSED:
        return refused(FIELD / name, REFUSED[name])
    held = read_table(FIELD / name)
    if name in SAME:
        plain = read_table(FIELD / "micro-sign/a.csv")
        same(held, list(plain.numbers["conductance"]), 4e-6)  # they were rounded to 0.1 nS
        assert held.texts == plain.texts
        assert len(held.device) == 241
        return None
    assert held.kind == "retention"
    assert list(dict.fromkeys(held.device)) == [f"cell{i}" for i in range(8)]
    assert held.numbers["time"][-6:].tolist() == [0, 1, 10, 100, 1000, 10000]
    np.testing.assert_allclose(held.numbers["conductance"][[0, 5, -1]],
                               [29.8955e-6, 32.6865e-6, 54.3839e-6])  # fmt: skip
    return None


def test_a_case_of_the_field_is_fitted() -> None:
    found = fit_files([FIELD / "micro-sign/b.csv"])
    assert found.candidates[0].name == "soft-bounds"
    for key, value in {
        "high": 55e-6,
        "low": 12e-6,
        "pulse_step": 2.6e-6,
        "pulse_cycle": 0.2,
    }.items():
        assert abs(found[key].value - value) < 3 * found[key].error, key
    assert found.notes[0].startswith("b.csv: header in line 1, delimiter comma, 241 rows")


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def pulses(delimiter: str = ",", head: str = "conductance_uS", factor: float = 1.0) -> str:
    rows = [f"{factor * value:.10g}{delimiter}{word}" for value, word in ROWS]
    return "\n".join([f"{head}{delimiter}direction", *rows]) + "\n"


TEXTS = {
    "tabs": pulses("\t"),
    "pipes": pulses("|"),
    "spaces": pulses("   "),
    "spaces after commas": pulses(", "),
    "spaces, brackets": pulses("  ", "G (uS)"),
    "decimal comma, tabs": pulses("\t").replace(".", ","),
    "decimal comma, quoted": re.sub(r"(\d+)\.(\d+)", r'"\1,\2"', pulses()),
    "scientific": pulses(",", "conductance_S", 1e-6),
    "exponent": re.sub(r"([\d.]+),", r"\1E+00,", pulses()),
    "nS": pulses(",", "conductance_nS", 1e3),
    "mS": pulses(",", "Conductance [mS]", 1e-3),
    "any case": pulses(",", "CONDUCTANCE_US"),
    "slash": pulses(",", "G / µS"),
    "slash, spaces": pulses("   ", "G / µS"),
    "units below": "conductance,direction\nµS,\n" + pulses().partition("\n")[2],
    "quoted names": pulses().replace("direction", '"Direction"'),
    "trailing delimiters": pulses().replace("\n", ",,\n"),
    "empty tail": pulses() + ",,,\n\n,\n",
    "blank lines": pulses().replace("\n", "\n\n  \n"),
    "comments": "% a\n// b\n; c\n# conductance\n" + pulses().replace("20.0632", "# x\n20.0632"),
    "numpy": "# conductance_uS,direction\n" + pulses().partition("\n")[2],
    "numpy, spaces": "# conductance_uS direction\n" + pulses(" ").partition("\n")[2],
    "preamble": "Instrument,4200A\nDate,2026-11-27\nRead voltage (V),0.2\nNotes\n\n" + pulses(),
    "pulse number": "pulse,conductance_uS,direction\n"
    + "".join(f"{n},{value},{word}\n" for n, (value, word) in enumerate(ROWS)),
    "pandas": ",conductance_uS,direction\n"
    + "".join(f"{n},{value},{word}\n" for n, (value, word) in enumerate(ROWS)),
    "CR": pulses().replace("\n", "\r"),
    "CRLF": pulses().replace("\n", "\r\n"),
    "no last end of line": pulses().rstrip("\n"),
    "LTP, LTD": pulses().replace("up", "LTP").replace("down", "Depression"),
    "set, reset": pulses().replace("up", "Set").replace("down", "RESET").replace("start", "read"),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_one_table_in_many_forms(tmp_path: Path, text: str) -> None:
    held = read_table(write(tmp_path / "a.csv", text))
    same(held, PULSES)
    assert held.texts["direction"] == [word for _, word in ROWS]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    same(read_table(write(tmp_path / "a.csv", pulses(",", "conductance (µS)"), encoding)), PULSES)
    big_endian = b"\xfe\xff" + pulses().encode("utf-16-be")
    (tmp_path / "a.csv").write_bytes(big_endian)
    same(read_table(tmp_path / "a.csv"), PULSES)


@pytest.mark.parametrize(
    ("unit", "factor"), [("ohm", 1.0), ("kohm", 1e-3), ("kΩ", 1e-3), ("MΩ", 1e-6), ("Ω", 1.0)]
)
def test_resistances_are_inverted(tmp_path: Path, unit: str, factor: float) -> None:
    rows = "".join(f"{factor / g!r},{word}\n" for g, (_, word) in zip(PULSES, ROWS, strict=True))
    same(read_table(write(tmp_path / "a.csv", f"R ({unit}),direction\n{rows}")), PULSES)
    two = write(tmp_path / "b.csv", f"up_{unit},down_{unit}\n{factor / 2e-6},{factor / 3e-6}\n")
    np.testing.assert_allclose(read_table(two).numbers["down"], [3e-6])


def test_currents_are_divided_by_the_read_voltage(tmp_path: Path) -> None:
    text = "I [nA],direction\n"
    text += "".join(f"{g * 0.2e9!r},{word}\n" for g, (_, word) in zip(PULSES, ROWS, strict=True))
    path = write(tmp_path / "a.csv", text)
    same(read_table(path, 0.2), PULSES)
    refused(path, "column 'I .nA.' holds currents: give the read voltage in a column voltage_V")
    plain = write(tmp_path / "b.csv", pulses())
    refused(plain, "a read voltage is for currents", read_voltage=0.2)
    volts = text.replace("direction", "direction,Voltage (mV)").replace("start", "start,200")
    volts = re.sub("(up|down)", r"\1,200", volts)
    same(read_table(write(path, volts)), PULSES)
    refused(path, "is not used, the read voltage is given twice", read_voltage=0.2)
    refused(write(path, volts.replace("start,200", "start,0")), "line 2: 'Voltage .mV.' must be")


def test_times_are_understood_in_every_unit(tmp_path: Path) -> None:
    for head, factor in (("time_hours", 3600), ("Time (min)", 60), ("t [ms]", 1e-3),
                         ("time / days", 86400), ("TIME_S", 1), ("Time (µs)", 1e-6)):  # fmt: skip
        held = read_table(write(tmp_path / "a.csv", f"{head};read_uS\n0;50\n2,5;51\n"))
        np.testing.assert_allclose(held.numbers["time"], [0, 2.5 * factor])


def test_ragged_columns_end_by_themselves(tmp_path: Path) -> None:
    first = write(
        tmp_path / "set.csv", "pulse,r1_uS,r2_uS,r3_uS\n0,1,2,3\n1,4,5,6\n2,7,,9\n3,,,9\n"
    )
    second = write(tmp_path / "reset.csv", "reset_uS\n9\n5\n")
    held = trains_of([read_table(first), read_table(second)])
    assert held.valid.sum(1).tolist() == [2, 1, 3, 1]
    np.testing.assert_allclose(held.reads[2] * 1e6, [3, 6, 9, 9])
    two = read_table(write(tmp_path / "two.csv", "up_uS,down_uS\n1,3\n2,2\n,1.5\n,1\n"))
    np.testing.assert_allclose(trains_of([two]).reads[0] * 1e6, [1, 2, 3, 2, 1.5, 1])
    short = write(tmp_path / "two.csv", "up_uS,down_uS\n1,3\n2,2\n3\n")
    np.testing.assert_allclose(trains_of([read_table(short)]).reads[0] * 1e6, [1, 2, 3, 3, 2])
    refused(write(tmp_path / "c.csv", "up_uS,down_uS\n1,3\n,2\n3,1\n"), "line 3: 'up_uS' is empty")
    merged = "Device No.,time_s,read_uS\na,1,15\n,2,15.1\n"  # as spreadsheets merge cells
    refused(write(tmp_path / "d.csv", merged), "line 3: 'Device No.' is empty: name the device")
    refused(first, "give a set and a reset file together")
    wide = read_table(write(tmp_path / "w.csv", "time_s,read A (uS),read B (uS)\n0,5,6\n1,5,\n"))
    assert (wide.kind, wide.device) == ("noise", ["read A", "read A", "read B"])


HEAD, BELOW = pulses().split("\n", 1)
BAD = {
    "unit in the cell": (
        pulses().replace("20.0632", "20.0632 uS"),
        "line 4: .*in the header alone",
    ),
    "thousands": (
        pulses().replace("20.0632", '"20,063.2"'),
        "line 4: '20,063.2' has a comma where",
    ),
    "comma or thousands": (
        "up_uS\tdown_uS\n15,085\t3\n16,100\t2\n",
        "line 2: the comma in '15,085'",
    ),
    "comma twice": ("up_uS,down_uS\n1,5,2,3\n", "line 2: 4 values for 2 columns .*decimal sign"),
    "point among commas": (
        pulses(";").replace(".", ",").replace("20,", "20."),
        "has a comma where",
    ),
    "overflow": (pulses().replace("20.0632", "9.91E37"), "line 4: 'conductance_uS' 9.91e.37 is an"),
    "-999": (
        pulses().replace("20.0632", "-999"),
        "line 4: 'conductance_uS' -999 is an instrument's",
    ),
    "negative": (
        pulses().replace("20.0632", "-0.2"),
        "line 4: 'conductance_uS' -0.2 is below zero",
    ),
    "underscore": (pulses().replace("20.0632", "20_0"), "line 4: 'conductance_uS' must be"),
    "other digits": (pulses().replace("20.0632", "٢٠"), "line 4: 'conductance_uS' must be"),
    "zero ohm": (
        "resistance_ohm,direction\n0,start\n",
        "line 2: 'resistance_ohm' is a resistance of",
    ),
    "denormal ohm": ("resistance_ohm,direction\n1e-320,start\n", "line 2: .* a resistance of zero"),
    "no rows": (HEAD + "\n\n", "no rows of data below the header in line 1"),
    "empty": ("", "is empty"),
    "comments alone": ("# a\n", "names no columns"),
    "words alone": ("hello world\nthis is prose\n", "line 1: 'hello world' names no columns"),
    "data above": (
        "1,2\n3,4\nup_uS,down_uS\n1,2\n",
        "line 1 holds numbers above the header in line 3",
    ),
    "no header, words": (
        BELOW,
        "the first line holds numbers, .*conductance_uS,direction above it",
    ),
    "no header, preamble": ("a,b\n" + BELOW, "line 2 holds numbers, .*no header in the 6 lines"),
    "mega": (pulses(",", "conductance_MS"), "no unit of it is 'MS' .allowed: S, mS, .*M is mega"),
    "milliohm": (pulses(",", "R_mohm"), "no unit of it is 'mohm' .allowed: ohm, kohm, Mohm"),
    "unit of time": ("time_years,read_uS\n1,2\n", "'years' .allowed: ns, us, ms, s, min, h, day.$"),
    "uS or us": ("time_s,a_uS,b_US\n1,2,3\n", "'US' could be uS or us"),
    "misspelt": (pulses(",", "conductence_uS"), "did you mean 'conductance'"),
    "extra": (
        pulses().replace("\n", ",\n").replace("n,", "n,T (K)", 1),
        "'T .K.' is not used: remove",
    ),
    "twice": ("conductance_uS,G_uS,direction\n1,1,start\n", "say the same: remove all but one"),
    "read after": (
        pulses().replace("down", "READ"),
        "line 5: direction 'READ' after a device's first",
    ),
    "quote": (pulses().replace("20.0632", '"20.0632'), "line 4: .* a quote is not closed"),
    "long line": (pulses() + "1" * 1_000_001, "line 7 is longer than 1,000,000 characters"),
    "control": (pulses().replace("up", "u\x01p", 1), "line 3 is not text"),
    "no name": (",conductance_uS,direction\n5,1,start\n9,2,up\n", "a column has no name"),
    "time before the write": (
        "time_s,conductance_uS\n0,1\n-3,2\n",
        "line 3: 'time_s' -3 is below zero",
    ),
    "huge cell": (HEAD + "\n" + "1" * 200_000 + ",start\n", "line 2: .* a cell is too long"),
    "no units": ("time_s,cell0,cell1\n1,2,3\n", "'cell0' has no unit that is known: .* cell0_uS"),
    "layouts": ("time_s,direction\n1,up\n", "has no column .*up_uS,down_uS .15,48. | target"),
    "many commas": ("a," * 20_000 + "\n", "names no columns"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "match"), BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path: Path, text: str, match: str) -> None:
    refused(write(tmp_path / "a.csv", text), match)


@pytest.mark.parametrize(
    "word", ["nan", "NaN", "inf", "N/A", "OVERFLOW", "--", "#DIV/0!", "OVLD", "null", "1.5D-05"]
)
def test_marks_for_no_reading_are_named_with_their_line(tmp_path: Path, word: str) -> None:
    for text in (pulses(), pulses(";").replace(".", ",")):
        path = write(tmp_path / "a.csv", re.sub("20.0632", word, text))
        refused(path, f"line 4: 'conductance_uS' must be a finite number, but is {word!r}")


def test_empty_cells_are_named(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.csv", pulses().replace("20.0632", "")), "line 4: .* is empty")
    refused(
        write(tmp_path / "a.csv", "time_s,read_uS\n1,2\n,3\n4,5\n"), "line 3: 'time_s' is empty"
    )


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for content, match in (
        (b"\x1f\x8b\x08abc", "is packed .gzip."),
        (b"PK\x03\x04", "is packed .zip or a spreadsheet"),
        (pulses().encode()[:40] + b"\0\0\0" + b"x" * 80, "it holds NUL bytes"),
        (pulses().encode() * 9 + b"\0\0\0", "control characters"),
        (bytes(range(256)), "is not text"),
        (b"\xff\xfe\x00", "is not text"),
        (b"conductance_uS,direction\n1,\x81\n", "is not text"),
    ):
        path.write_bytes(content)
        refused(path, match)
    refused(tmp_path, "there is no file")


def test_hundreds_of_thousands_of_rows_are_read_in_seconds(tmp_path: Path) -> None:
    import time

    rows = "".join(f"{n * 0.1:.1f};{50 + n % 7 / 8}\n" for n in range(100_000)).replace(".", ",")
    path = write(tmp_path / "a.csv", "time_s;read_uS\n" + rows * 3)
    start = time.process_time()
    held = read_table(path)
    assert time.process_time() - start < 6  # about 1.5 s of one core
    assert held.numbers["read"].shape == (300_000,)
