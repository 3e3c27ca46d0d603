"""Data and files that cannot be used: each one clear line, from the command line with code 2."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from madem.device import load, names
from madem.device.fit import fit_files
from madem.device.fitting import Curve
from madem.errors import InputError
from madem.report.device import panels
from tests.device.bench import long_form, soft_cell, trains, write_csv
from tests.device.test_fit import errors_table, retention_table


def refused(paths: list[Path], match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        fit_files(paths)
    assert "\n" not in str(caught.value)


def test_columns(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    rows = [["1", "2"]] * 30
    refused([tmp_path / "none.csv"], "there is no file")
    refused([write_csv(file, ["conductance_uS", "device"], rows)], "has no column (direction|time)")
    refused([write_csv(file, ["up_uS", "down_nS"], rows)], "mixes units: nS, uS")
    refused([write_csv(file, ["up_uS", "down"], rows)], "column 'down' has no unit: down_uS")
    refused(
        [write_csv(file, ["up_uS", "down_uT"], rows)], "no unit of it is 'uT' .allowed: S, mS, uS"
    )
    refused([write_csv(file, ["time", "read_uS"], rows)], "column 'time' has no unit: time_s")
    refused([write_csv(file, ["up_uS", "up_uS"], rows)], "two columns of one name")
    refused([write_csv(file, ["up_uS", "down_uS"], [])], "no rows of data")
    refused([write_csv(file, ["up_uS", "down_uS"], [["1"]])], "'down_uS' holds no numbers")
    refused([file, file, file], "give one file, or a set and a reset file, not 3")
    file.write_bytes(b"\xff\xfe\x00")
    refused([file], "is not text")


def test_nan_rows_are_named(tmp_path: Path) -> None:
    rows = [["1", "2"], ["1", "nan"], ["1", "2"]]
    refused(
        [write_csv(tmp_path / "a.csv", ["target_uS", "read_uS"], rows)],
        "line 3: 'read_uS' must be a finite number, but is 'nan'",
    )
    rows[1][1] = ""
    refused(
        [write_csv(tmp_path / "a.csv", ["target_uS", "read_uS"], rows)],
        "line 3: 'read_uS' is empty",
    )


def test_pulses_that_do_not_determine_the_model(tmp_path: Path) -> None:
    held = trains(soft_cell(), 2, 30, 0)
    up_only = replace(held, reads=held.reads[:, :31], up=held.up[:, :30], valid=held.valid[:, :30])
    refused([long_form(tmp_path / "up.csv", up_only)], "no pulses down: give trains in both")
    few = replace(
        held, reads=held.reads[:, 25:36], up=held.up[:, 25:35], valid=held.valid[:, 25:35]
    )
    refused([long_form(tmp_path / "few.csv", few)], "has 10 pulses: a fit needs at least 20")
    still = replace(held, reads=np.full_like(held.reads, 5e-5))
    refused([long_form(tmp_path / "still.csv", still)], "device '0' never moves")
    path = long_form(tmp_path / "word.csv", held)
    path.write_text(path.read_text().replace(",down,", ",dwn,", 1))
    refused([path], "direction 'dwn' of device '0': did you mean 'down'")


def test_trains_far_from_the_bounds_do_not_determine_them(tmp_path: Path) -> None:
    cell = replace(
        soft_cell(), pulse_step=0.1e-6, read_sigma=0.2e-6, high_spread=0.0, low_spread=0.0
    )
    held = trains(cell, 2, 12, 0)  # moves by a hundredth of the range
    refused([long_form(tmp_path / "flat.csv", held)], "the data do not determine")


def test_a_single_device_where_several_are_needed(tmp_path: Path) -> None:
    table = retention_table(load("cmo-hfox"), 1, 0)
    rows = zip(table.numbers["time"], 1e6 * table.numbers["conductance"], strict=True)
    path = write_csv(tmp_path / "r.csv", ["time_s", "conductance_uS"], list(rows))
    refused([path], "holds 1 device.*at least 5 are needed")


def test_retention_without_time(tmp_path: Path) -> None:
    rows = [[d, t, 50 + d + t] for d in range(6) for t in (1, 2, 3)]
    path = write_csv(tmp_path / "r.csv", ["device", "time_s", "conductance_uS"], rows)
    refused([path], "span less than a decade")
    rows[4][1] = 1
    refused([write_csv(path, ["device", "time_s", "conductance_uS"], rows)], "each at its own time")


def test_too_few_errors(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "e.csv", ["target_uS", "read_uS"], [["1", "2"]] * 5)
    refused([path], "has 5 rows: programming errors need 20 or more")
    refused([write_csv(path, ["target_uS", "read_uS"], [["1", "2"]] * 30)], "errors are equal")


def change(tmp_path: Path, old: str, new: str, name: str = "cmo-hfox") -> str:
    text = (Path("src/madem/device/presets") / f"{name}.yaml").read_text()
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new))
    return str(path)


def test_presets_with_forms_that_cannot_be_used(tmp_path: Path) -> None:
    for old, new, match in (
        ("form: flicker", "form: fliker", "noise: unknown form 'fliker': did you mean 'flicker'"),
        ("onset:", "onsett:", "noise: unknown key 'onsett': did you mean 'onset'"),
        ("    linear:\n      value: 0.00106879\n", "    linear:\n", "error.linear has no value"),
        ("value: 1 us", "value: 1 uS", "noise.onset: '1 uS' needs a unit compatible with second"),
        ("value: 8 uS", "value: 95 uS", "low must be below 9e-05 S.*the range is empty"),
        ("form: polynomial", "shape: polynomial", "error has no form"),
    ):
        with pytest.raises(InputError, match=match):
            load(change(tmp_path, old, new))


def madem(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "madem", *arguments], capture_output=True, text=True, check=False
    )


def test_the_command_line_fits_and_shows(tmp_path: Path) -> None:
    table = errors_table(load("milo-2021"), 800, 0)
    rows = zip(1e6 * table.numbers["target"], 1e6 * table.numbers["read"], strict=True)
    data = write_csv(tmp_path / "errors.csv", ["target_uS", "read_uS"], list(rows))
    out, page, drawn = tmp_path / "mine.yaml", tmp_path / "page.html", tmp_path / "mine.svg"
    done = madem("device", "fit", str(data), "--out", str(out), "--figures", str(page))
    assert done.returncode == 0, done.stderr
    assert "error_sigma" in done.stdout
    cell = load(str(out))
    assert 3e-6 < float(cell.error.sigma(cell.error_sigma, torch.tensor(137e-6))) < 4e-6
    text = page.read_text()
    assert "<svg" in text
    assert "http://" not in text.replace("http://www.w3.org", "").replace(
        "http://purl", ""
    ).replace("http://creativecommons", "")
    done = madem("device", "show", str(out), "--figure", str(drawn))
    assert done.returncode == 0, done.stderr
    assert drawn.read_text().startswith("<svg")
    done = madem("device", "show", str(out), "--figure", str(tmp_path / "mine.txt"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = madem("device", "fit", str(data), "--figures", str(tmp_path / "page.txt"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "must end in .html" in done.stderr
    assert not (tmp_path / "page.txt").exists()
    done = madem("device", "fit", str(data), "--out", str(tmp_path / "none" / "a.yaml"))
    assert (done.returncode, "there is no folder" in done.stderr) == (2, True)
    data.write_text("up_uS,down_nS\n1,2\n")
    done = madem("device", "fit", str(data))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "mixes units" in done.stderr


def test_names_of_files_are_shown_as_they_are(tmp_path: Path) -> None:
    table = errors_table(load("milo-2021"), 800, 0)
    rows = zip(1e6 * table.numbers["target"], 1e6 * table.numbers["read"], strict=True)
    folder = tmp_path / "[" / "bold]:smile:["
    folder.mkdir(parents=True)
    data = write_csv(folder / "].csv", ["target_uS", "read_uS"], list(rows))
    page = tmp_path / "[" / "page.html"
    done = madem(
        "device", "fit", str(data), "--figures", str(page), "--out", str(folder / "].yaml")
    )
    assert done.returncode == 0, done.stderr
    assert "/bold]:smile:[/].yaml" in done.stdout.replace("\n", "")
    assert page.read_text()
    done = madem("device", "show", str(folder / "].yaml"))
    assert done.returncode == 0, done.stderr


def test_the_name_of_a_device_is_no_formula() -> None:
    dots = {"measured": (np.arange(3.0), np.arange(3.0))}
    assert "<svg" in panels([Curve("device $\\frac{1$", "n", "uS", dots, {})], "")


def test_every_preset_is_listed() -> None:
    done = madem("device", "list")
    assert all(f"{name}: " in done.stdout for name in names())
