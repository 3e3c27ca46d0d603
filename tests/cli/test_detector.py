"""``madem detector``: what it says of what cannot be done, and of the states of a chip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from madem.cli import app
from madem.errors import InputError
from madem.serve.store import Store


def said(*words: str) -> str:
    found = CliRunner().invoke(app, ["detector", *words])
    if isinstance(found.exception, InputError):
        return f"refused: {found.exception}"
    assert found.exception is None, found.exception
    return found.output


def test_states_are_shown_pinned_and_gone_back_to(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for missed in (0.25, 0.125):
        store.save({"x": torch.zeros(1)}, {"why": "learned", "missed": missed, "labels": 100})
    text = said("state", str(tmp_path), "--pin", "1", "--rollback", "1")
    assert "25.0 %" in text
    assert "12.5 %" in text
    assert (store.pointed(), store.pinned(1)) == (1, True)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("state", "none"), "holds no generation"),
        (("labels", "none.csv"), "no such file"),
        (("serve", "none.yaml"), "no such file"),
        (("serve", "--set", "shadow=maybe"), "shadow: "),
        (("serve", "--set", "host=0.0.0.0"), "can be reached by others"),
        (("replay", "--series", "run"), "--series must be NUMBER-NAME"),
        (("replay", "--series", "9" * 30), "at most 15 digits"),
        (("replay", "none.h5"), "no such file"),
        (("replay", "/dev/zero"), "not a plain file"),
        (("labels", "/dev/zero"), "not a plain file"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: tuple[str, ...], line: str) -> None:
    text = said(*words)
    assert text.startswith("refused: ")
    assert line in text


def test_a_generation_or_series_that_is_not_there(tmp_path: Path) -> None:
    Store(tmp_path).save({"x": torch.zeros(1)}, {"why": "calibrated"})
    assert "no generation 7" in said("state", str(tmp_path), "--pin", "7")
    assert "no verdicts of series" in said("state", str(tmp_path), "--export", "1-A")
    labels = tmp_path / "labels.csv"
    labels.write_text("series,image,hit\n1-A,1,1\n")
    assert "nobody hears" in said("labels", str(labels), "--to", "tcp://127.0.0.1:1")
    assert "--to" in said("labels", str(labels), "--to", "nowhere")


def test_the_config_of_a_service_is_known() -> None:
    shown = CliRunner().invoke(app, ["config", "show", "service"]).output
    assert "experiment: service" in shown
    assert (
        "ok, a config of service" in CliRunner().invoke(app, ["config", "check", "service"]).output
    )
    schema = json.loads(CliRunner().invoke(app, ["config", "schema", "service"]).output)
    assert "ServiceConfig" in schema["$defs"]
