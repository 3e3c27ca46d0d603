"""``madem config``: what is shown loads again, what cannot run is refused, schemas say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from madem.documents import load_keys
from madem.experiments.catalogue import MODULES, experiment, find
from tests.cli.commands import command, one_line

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))

BAD: list[tuple[str, dict[str, Any]]] = [
    (
        "unknown key 'network.hiden': did you mean 'hidden'?",
        {"network": {"kind": "hopfield", "hiden": [3]}},
    ),
    ("network: unknown name 'hopfeld'", {"network": {"kind": "hopfeld"}}),
    ("schedule.batch: input should be a valid integer", {"schedule": {"batch": "many"}}),
    ("writing.units.0: '15' needs a unit", {"writing": {"units": ["15"]}}),
    ("seed: input should be greater than or equal to 0", {"seed": -1}),
]


@pytest.mark.parametrize("name", MODULES)
def test_what_is_shown_is_the_same_config(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("config", "show", name, "--set", "seed=7") == 0
    held = load_keys(capsys.readouterr().out, "shown")
    found = find(held)
    assert found.model.of(held) == found.model.of({"experiment": name, "seed": 7})
    assert set(held) == set(found.model.model_fields)


@pytest.mark.parametrize("name", [*MODULES, *(str(path) for path in EXAMPLES)])
def test_what_ships_can_be_run(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES[0].parents[1])  # where the README runs them
    images = "/" in name and "idx" in Path(name).read_text()  # not all have Fashion-MNIST
    ours = ("--set", "task={kind: digits, size: 8, cost: squared-error}") if images else ()
    assert command("config", "check", name, *ours) == 0
    assert f"{name}: ok, a config of " in capsys.readouterr().out


@pytest.mark.parametrize(("line", "values"), BAD)
@pytest.mark.parametrize("verb", ["show", "check"])
def test_a_bad_config_is_one_line(
    verb: str, line: str, values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(json.dumps({"experiment": "train", **values}))
    assert command("config", verb, str(file)) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"madem: {line}")
    assert one_line(told.err)
    assert not told.out


def test_what_cannot_be_built_is_refused_by_check_alone(capsys: pytest.CaptureFixture[str]) -> None:
    odd = (str(EXAMPLES[0].parent / "resistive.yaml"), "--set", "network.hidden=[7]")
    odd += ("--set", "task.kind=digits")
    assert command("config", "show", *odd) == 0
    capsys.readouterr()
    assert command("config", "check", *odd) == 2
    assert "network.hidden must be even" in capsys.readouterr().err


def test_an_unknown_schema_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("config", "schema", "nois") == 2
    assert "unknown experiment 'nois': did you mean 'noise'?" in capsys.readouterr().err


def test_one_schema_has_all_studies(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("config", "schema") == 0
    schema = json.loads(capsys.readouterr().out)
    for name in MODULES:
        own = schema["$defs"][experiment(name).model.__name__]
        assert own["properties"]["experiment"]["const"] == name
        assert "experiment" in own["required"]
    own = {each["$ref"].rsplit("/", 1)[-1] for each in schema["oneOf"]}
    assert own == {experiment(name).model.__name__ for name in MODULES} | {"ServiceConfig"}


def test_schemas_agree_with_what_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("config", "schema") == 0
    check = jsonschema.Draft202012Validator(json.loads(capsys.readouterr().out))
    for path in EXAMPLES:
        held = load_keys(path.read_text(), str(path))
        assert check.is_valid(held), path
        assert check.is_valid(find(held).model.of(held).model_dump(mode="json")), path
        assert not check.is_valid({k: v for k, v in held.items() if k != "experiment"})
    for _, values in BAD:
        assert not check.is_valid({"experiment": "train", **values}), values
