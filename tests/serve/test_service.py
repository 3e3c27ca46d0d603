"""The service as a whole: killed at any time, overloaded, and ended."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from madem.errors import InputError
from madem.experiments.config.base import override
from madem.serve.config import ServiceConfig
from madem.serve.record import Record
from madem.serve.service import prepare
from madem.serve.store import Store
from tests.serve.running import Feed, Running, each_once, running, small, waited

SERIES = "1-TEST"
ANNOUNCED = 200_000
"""Images that a detector says will come, of which it sends as many as there is time for."""


def ended(service: Running) -> bool:
    """Return whether the record has the end of the series."""
    lines = list(Record(service.folder / "verdicts").lines(SERIES))
    return bool(lines) and not lines[-1]["place"][5]


@pytest.mark.parametrize("kills", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_a_kill_at_any_time_loses_no_verdict_and_leaves_a_legal_generation(
    folder: Path, kills: int
) -> None:
    draw, config = random.Random(kills), small("trial=30")
    names, killed = ["worker", "learner", "page", "receiver"], 0
    with running(config, folder) as service:
        feed = Feed(config, SERIES, 100.0, ANNOUNCED)
        while killed < kills:
            time.sleep(draw.uniform(0.05, 0.6))
            name = "service" if killed % 20 == 4 else names[killed % 4]
            try:
                service.kill(name)
            except (ProcessLookupError, KeyError):  # dead already, and not yet started again
                continue
            killed += 1
            store = Store(folder)
            assert store.load(store.pointed() or 0).number in store.numbers()
            if name == "service":
                service.start()
        waited(lambda: service.status("worker").get("counts", {}).get("frames"), 60)
        feed.ended.set()
        sent = feed.finish()
        waited(lambda: ended(service), 120)
    why = each_once(folder, SERIES, ANNOUNCED)
    assert set(why) <= {"lost", "ended early", "start missed"}
    assert ANNOUNCED - sent <= why["ended early"] <= ANNOUNCED
    assert sum(why.values()) < ANNOUNCED  # some were judged


def test_overload_drops_are_counted_exactly(folder: Path) -> None:
    config = small("ring=20")
    with running(config, folder) as service:
        feed = Feed(config, SERIES, 5000.0, 3000)
        assert feed.finish() == 3000
        waited(lambda: ended(service), 60)
        why = each_once(folder, SERIES, 3000)
        waited(lambda: service.status("receiver")["counts"]["received"] == 3002)
        dropped = service.status("receiver")["counts"]["dropped"]
    assert dropped > 0
    start = why["start missed"]
    assert why["lost"] + start == dropped - (start > 0)  # the start itself may have been dropped


def test_it_ends_when_it_is_asked_to(folder: Path) -> None:
    config = small()
    with running(config, folder) as service:
        assert Feed(config, SERIES, 200.0, 40).finish() == 40
        waited(lambda: ended(service))
        assert service.stop() == 130
    assert not each_once(folder, SERIES, 40)
    assert Store(folder).pointed() == 1


def test_a_folder_of_another_config_is_refused(folder: Path) -> None:
    other = small("detector.reduction.window=200")
    with pytest.raises(InputError, match="a chip of another config"):
        prepare(other, folder)


def test_a_folder_without_a_whole_generation_is_refused(folder: Path) -> None:
    (folder / "generations/000001/state.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="no generation in .* is whole"):
        prepare(small(), folder)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("host=0.0.0.0", "can be reached by others"),
        ("host=here", "must be an IP address"),
        ("source=host:31001", "tcp://HOST:PORT"),
        ("page=31011", "three different ports"),
        ("detector.machine.chips=2", "a service has one module"),
        ("audits=0.1", "did you mean 'audit'"),
        ("ring=0", "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(setting: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        ServiceConfig.of(override({}, [setting]))
    assert "\n" not in str(refused.value)
