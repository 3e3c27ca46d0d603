"""Maps of crossbars, settling states, and the commands that draw them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from madem.circuit import Timing
from madem.cli import app
from madem.errors import InputError
from madem.inspect.circuits import Bench, phases
from madem.inspect.maps import maps
from madem.inspect.subject import Subject, put_on_bench
from madem.report.figures import save
from madem.report.show import crossbar_figure, settling_figure, times_figure
from tests.conftest import small_config

NAME = "classify.two_layer"


def bench(*settings: str, name: str = NAME) -> Subject:
    return put_on_bench(small_config(*settings), None, name)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(small_config().model_dump(mode="json")))
    return path


@pytest.mark.parametrize("name", [NAME, "reconstruct.one_layer"])
def test_maps_obey_ohm_and_wires_take_some(name: str) -> None:
    ideal = maps(bench(name=name), 1, 0)
    wired = maps(bench("machine.wire=20 ohm", name=name), 1, 0)
    assert len(ideal) == len(wired) == 2
    for free, real in zip(ideal, wired, strict=True):
        assert np.array_equal(free.g, real.g)
        assert not free.drop.any()
        assert np.allclose(real.current, real.g * real.across, rtol=1e-5, atol=0)
        on = np.abs(real.driven) > 0.05
        assert real.drop[on].mean() > 0
        assert real.drop[on][:, -1].mean() > real.drop[on][:, 0].mean()  # driven from the left
    first = ideal[0]  # dots are -1 or +1, and so is the bias line: 0.2 V
    assert set(np.round(np.abs(first.driven), 6)) <= {0.0, 0.2}


def test_phases_settle_one_after_another() -> None:
    one = Bench(bench())
    found = phases(one, Timing(tau=2e-9))
    assert [phase.name for phase in found] == ["free", "positive", "negative"]
    free, up, down = found
    for before, high, low in zip(free.layers, up.layers, down.layers, strict=True):
        assert np.abs(before[0]).max() < 1e-6
        assert np.abs(high[0] - before[-1]).max() < 1e-3
        assert np.abs(low[0] - before[-1]).max() < 1e-3
    assert 2e-9 < free.settled < 50e-9
    twice = phases(one, Timing(tau=4e-9))
    assert twice[0].settled == pytest.approx(2 * free.settled, rel=5e-3)


def test_figures_hold_what_they_say(tmp_path: Path) -> None:
    arrays = crossbar_figure(maps(bench("machine.wire=20 ohm"), 0, 0), "t")
    titles = [axis.get_title(loc="left") for axis in arrays.axes]
    assert "taken by wires (mV)" in titles
    found = phases(Bench(bench()), Timing())
    states = settling_figure(found, "t")
    assert f"settled after {1e9 * found[0].settled:.3g} ns" in states.axes[3].get_xlabel()
    assert len(states.axes[0].lines) == found[0].layers[0].shape[1] + 2
    shares = times_figure({NAME: {"free": np.array([1e-9, 3e-9]), "nudged": np.array([2e-9])}},
                          {NAME: {"free": 3e-9, "nudged": 2e-9}})  # fmt: skip
    assert shares.axes[0].lines[0].get_ydata()[-1] == 100  # type: ignore[index]
    for ending in ("png", "svg"):
        save(states, tmp_path / f"figure.{ending}")
        assert (tmp_path / f"figure.{ending}").stat().st_size > 5000
    with pytest.raises(InputError, match=r"unknown format '.pgn': did you mean '.png'"):
        save(states, tmp_path / "figure.pgn")
    with pytest.raises(InputError, match="no such file or directory"):
        save(states, tmp_path / "nowhere" / "figure.png")


@pytest.mark.parametrize("what", ["crossbar", "settling"])
def test_commands_draw(what: str, config_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "figure.png"
    done = CliRunner().invoke(app, ["show", what, str(config_file), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "settled after" in done.output or "no drop" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["crossbar", "{config}", "--chip", "2"], "chip must be from 0 to 1, but is 2"),
        (["crossbar", "{config}", "--network", "clasify.one_layer"], "did you mean 'classify.one"),
        (["settling", "nowhere"], "config: 'nowhere': no such file"),
        (
            ["crossbar", "examples/circuit.yaml"],
            "this network lies on none (machine.kind is not chip)",
        ),
    ],
)
def test_bad_input(arguments: list[str], message: str, config_file: Path) -> None:
    given = [argument.format(config=config_file) for argument in arguments]
    done = CliRunner().invoke(app, ["show", *given])
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)
