"""From measurements to a run: whatever ``device fit`` writes, and every preset, is a chip."""

from __future__ import annotations

from pathlib import Path

import pytest

from madem.device import names
from tests.cli.commands import command, one_line

MEASURED = Path(__file__).parents[1] / "device/field"
CONFIG = """\
experiment: train
task: {kind: csv, path: t.csv, target: kind}
network: {kind: hopfield, hidden: [3]}
machine: {kind: chip, chips: 1}
rule: {kind: accumulate, threshold: 5 uS}
schedule: {steps: 2, batch: 2, looks: 1}
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small table and a config in the working directory."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{i % 5},{i % 3},{'ab'[i % 2]}" for i in range(30)]
    Path("t.csv").write_text("\n".join(["x,y,kind", *rows]))
    Path("dev.yaml").write_text(CONFIG)


def test_what_was_fitted_by_default_runs(capsys: pytest.CaptureFixture[str]) -> None:
    data = str(MEASURED / "micro-sign/a.csv")
    assert command("device", "fit", data, "--out", "mine.yaml") == 0
    given = ("dev.yaml", "--set", "machine.device=mine.yaml")
    assert command("config", "check", *given) == 0
    assert command("run", *given, "--out", "r") == 0, capsys.readouterr().err
    assert Path("r/report.html").exists()


@pytest.mark.parametrize("name", names())
def test_every_preset_settles(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("dev.yaml", "--set", f"machine.device={name}", "--set", "machine.base=1 uS")
    given += ("--set", "writing.units=['10 uS']", "--samples", "2")
    assert command("gradcheck", *given) == 0, capsys.readouterr().err


@pytest.mark.parametrize("key", ["dac_bits", "adc_bits"])
def test_zero_bits_are_no_converter_and_one_is_refused_before_the_run(
    key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("config", "check", "dev.yaml", "--set", f"machine.{key}=0") == 0
    for verb in (["config", "check"], ["run", "--out", "r"]):
        assert command(*verb, "dev.yaml", "--set", f"machine.{key}=1") == 2
        told = capsys.readouterr().err
        assert one_line(told)
        assert f"{key} must be 2 to 24, or 0" in told
    assert not Path("r").exists()


def test_a_gradient_is_checked_on_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("gradcheck", "dev.yaml") == 0, capsys.readouterr().err
    assert command("gradcheck", "dev.yaml", "--samples", "32") == 2
    assert "samples must be from 1 to 4" in capsys.readouterr().err


MESSAGES = [
    ("machine.neuron_tau=10", "'10' needs a unit compatible with second, e.g. '10 ns'"),
    ("machine.base=7", "e.g. '7 uS'"),
    ("schedule.rates=0.1", "schedule.rates: input should be a list, but is 0.1: write [0.1]"),
    ("writing.units=2 uS", "writing.units: input should be a list, but is '2 uS': write ['2 uS']"),
    ("schedule.batch=null", "but is null"),
    ("task.target=class", "allowed: kind, x, y"),
]


@pytest.mark.parametrize(("change", "text"), MESSAGES)
def test_a_message_says_what_to_type(
    change: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("config", "check", "dev.yaml", "--set", change) == 2
    told = capsys.readouterr().err
    assert one_line(told)
    assert text in told
    assert "did you mean" not in told


def test_a_preset_is_no_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("device", "fit", "dev.yaml") == 2
    assert "'dev.yaml' is a preset or a config, not measurements" in capsys.readouterr().err


def test_another_config_is_told_in_the_words_of_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("run", "dev.yaml", "--set", "machine.wire=2 ohm", "--out", "r") == 0
    assert command("run", "dev.yaml", "--out", "r") == 2
    assert 'machine.wire is "2 ohm" there and null here' in capsys.readouterr().err
