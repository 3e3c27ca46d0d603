"""The learner: labels late, out of order, contradictory or false, and what they do to a chip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from madem.beam.sources.stream2 import Place
from madem.serve.config import ServiceConfig
from madem.serve.inputs import Inputs
from madem.serve.labels import Label, messages_of
from madem.serve.learner import Teacher, _held_out, inputs_of
from madem.serve.model import newest
from madem.serve.record import Record
from madem.serve.status import TOLD, Control, Status
from madem.serve.store import Store
from tests.serve.running import small


def teacher(folder: Path, *settings: str) -> Teacher:
    config: ServiceConfig = small(*settings)
    status = Status(folder / "status", "learner")
    return Teacher(config, folder, newest(config, Store(folder)), status)


def frames(own: Teacher, count: int, first: int = 0) -> list[tuple[torch.Tensor, bool]]:
    """Show ``count`` frames like those of the reference, and return what they are."""
    assert own.model is not None
    found = []
    for number in range(first, first + count):
        row = number % len(own.model.hit)
        x, hit = own.model.reference[row], bool(own.model.hit[row])
        own.saw("1-A", number, 0.0, x)
        found.append((x, hit))
    return found


def tell(own: Teacher, *labels: Label) -> bool:
    return own.heard(messages_of(labels))


def test_labels_may_come_late_early_twice_and_against_each_other(folder: Path) -> None:
    own, counts = teacher(folder), Status(folder / "status", "learner").counts
    counts = own.status.counts
    frames(own, 3)
    tell(own, Label("1-A", 1, True), Label("1-A", 1, True), Label("1-A", 1, False))
    assert (counts["labels"], counts["label twice"], counts["label contradicts"]) == (1, 1, 1)
    tell(own, Label("1-A", 7, True), Label("1-A", 8, False), Label("1-A", 8, True))
    assert (counts["label waits"], counts["label contradicts"]) == (2, 2)
    frames(own, 6, 3)
    assert counts["labels"] == 2  # that of 7 had waited, those of 8 contradicted each other
    own.heard([b"noise"])
    assert counts["label refused"] == 1
    own.frames.clear()
    tell(own, Label("1-A", 2, True))
    assert counts["label unknown"] == 1


def test_a_flood_of_labels_is_bounded(folder: Path) -> None:
    own = teacher(folder, "remembered=100")
    tell(own, *(Label("9-F", number, True) for number in range(1000)))
    assert len(own.waiting) == 100
    assert own.status.counts["label flood"] == 900


def test_good_labels_teach_and_what_is_learned_takes_over(folder: Path) -> None:
    own = teacher(folder, "trial=60", "detector.online.updates=2")
    shown = frames(own, 100)
    assert tell(own, *(Label("1-A", number, hit) for number, (_, hit) in enumerate(shown)))
    counts = own.status.counts
    assert counts["learned"] + len(own.held) == 100
    assert counts["promoted"] + counts["rolled back"] == 1
    assert counts["cells written"] > 0
    if counts["promoted"]:
        assert own.store.pointed() == 2
        assert own.store.noted() == []


def test_a_labeller_that_says_the_opposite_is_rolled_back(folder: Path) -> None:
    own = teacher(folder, "trial=60", "detector.online.updates=60", "worse=0.1",
                  "detector.reservoir.room=50")  # fmt: skip
    shown, before = frames(own, 100), [p.clone() for p in _parameters(own)]
    tell(own, *(Label("1-A", number, not hit) for number, (_, hit) in enumerate(shown)))
    assert own.status.counts["rolled back"] == 1
    assert own.patience == 2
    assert own.store.pointed() == 1
    moved = own.store.noted()
    assert [bool(each.get("undone")) for each in moved] == [False, True]
    assert all(each["cells"] > 0 for each in moved)
    error = float((torch.cat([p.flatten() for p in _parameters(own)])
                   - torch.cat([p.flatten() for p in before])).abs().mean())  # fmt: skip
    assert error < 0.05  # programmed back, as well as cells can be


def _parameters(own: Teacher) -> list[torch.Tensor]:
    assert own.model is not None
    return list(own.model.learner.machine.parameters)


def test_one_class_alone_does_no_harm(folder: Path) -> None:
    own = teacher(folder, "trial=60", "detector.online.updates=2")
    frames(own, 100)
    tell(own, *(Label("1-A", number, True) for number in range(100)))
    assert own.status.counts["promoted"] + own.status.counts["rolled back"] == 1
    assert own.before is not None
    assert torch.isfinite(torch.tensor(own.before.cut))


def test_a_kill_resumes_the_generation_bit_for_bit(folder: Path) -> None:
    own = teacher(folder, "trial=1000", "detector.online.updates=2")
    shown = frames(own, 60)
    before = [p.clone() for p in _parameters(own)]
    tell(own, *(Label("1-A", number, hit) for number, (_, hit) in enumerate(shown)))
    assert any(not torch.equal(a, b) for a, b in zip(before, _parameters(own), strict=True))
    again = teacher(folder)
    assert all(torch.equal(a, b) for a, b in zip(before, _parameters(again), strict=True))
    assert again.status.counts["chip written since"] > 0


def judged(own: Teacher, count: int, first: int = 0) -> list[bool]:
    """Let a worker judge ``count`` frames like those of the reference; return which are hits."""
    assert own.model is not None
    inputs, record = inputs_of(own.config, own.store.path), Record(own.store.path / "verdicts")
    inputs.end()
    hits, lines = [], record.known().lines
    for number in range(first, first + count):
        row = number % len(own.model.hit)
        inputs.add([("1-A", number, 0.0, own.model.reference[row].numpy())])
        lines += 1
        record.add([(Place("1-A", number + 1, open=True),
                     {"n": lines, "at": ["e", number], "gaps": [], "verdicts": []})])  # fmt: skip
        hits.append(bool(own.model.hit[row]))
    return hits


def test_labels_of_frames_that_were_judged_before_a_kill_teach(folder: Path) -> None:
    own = teacher(folder, "trial=1000", "detector.online.updates=2")
    hits = judged(own, 60)
    tell(own, *(Label("1-A", number, hits[number]) for number in range(30)))
    assert own.status.counts["labels"] == 30
    again = teacher(folder, "trial=1000", "detector.online.updates=2")
    hits += judged(again, 40, 60)
    tell(again, *(Label("1-A", number, hits[number]) for number in range(100)))
    counts = again.status.counts
    assert (counts["labels"], counts["label twice"], counts["label unknown"]) == (70, 30, 0)
    assert counts["learned"] > 0
    held = [hit for number, hit in enumerate(hits) if _held_out(("1-A", number))]
    assert [hit for _, hit in again.held] == held  # those from before the kill as well


def test_labels_of_frames_whose_inputs_are_gone_are_counted(folder: Path) -> None:
    own = teacher(folder, "remembered=50")
    hits = judged(own, 80)
    assert own.inputs.path == folder
    again = teacher(folder, "remembered=50")
    tell(again, *(Label("1-A", number, hits[number]) for number in range(80)))
    counts = again.status.counts
    assert (counts["labels"], counts["label unknown"], counts["label waits"]) == (50, 30, 0)
    next(folder.glob("inputs.*")).unlink()
    third = teacher(folder, "remembered=50")
    tell(third, Label("1-A", 70, True), Label("1-A", 80, True), Label("2-B", 0, True))
    counts = third.status.counts
    assert (counts["label unknown"], counts["label waits"]) == (1, 2)
    assert "remembered" in TOLD["label unknown"]


def test_a_frame_that_was_judged_between_two_looks_is_found(folder: Path) -> None:
    own = teacher(folder)
    own.look()
    (hit,) = judged(own, 1)
    own._hear(("1-A", 0), hit)  # as between the look of heard and its labels
    assert own.status.counts["labels"] == 1


@pytest.mark.parametrize("failing", ["note", "save", "label"])
def test_a_disk_that_refuses_is_counted_and_learning_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    own = teacher(folder, "trial=60", "detector.online.updates=2", "worse=1")
    shown = frames(own, 200)
    labels = [Label("1-A", number, hit) for number, (_, hit) in enumerate(shown)]
    if failing == "label":
        judged(own, 200)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Inputs if failing == "label" else Store, failing, full)
        tell(own, *labels[:100])
    counts = own.status.counts
    assert counts["storage"] > 0
    assert counts["learned"] + len(own.held) == 100
    assert own.store.pointed() == (1 if failing == "save" else 2)
    tell(own, *labels[100:])
    assert counts["learned"] + len(own.held) == 200  # none of them twice
    assert (own.store.pointed() or 0) > 1


@pytest.mark.parametrize("harm", ["damaged", "newer", "other"])
def test_a_generation_that_cannot_be_used_is_not_followed(folder: Path, harm: str) -> None:
    """One that is torn, of a newer madem, or whole and of another config."""
    own = teacher(folder)
    assert own.model is not None
    own.store.save({"x": torch.ones(2)} if harm == "other" else own.model.state(), {"why": "test"})
    manifest = folder / "generations/000002/manifest.json"
    held = json.loads(manifest.read_text())
    if harm != "other":
        manifest.write_text(json.dumps(held | {"format": 99}) if harm == "newer" else "")
    why = "newer generation" if harm == "newer" else "damaged generation"
    for each in (own, teacher(folder)):  # one that was there before, and one after a restart
        for _ in range(3):
            each.heard([])
        assert each.status.counts[why] == 1
        assert each.before is not None
        assert each.before.number == 1


def test_learning_can_be_held_and_another_generation_be_asked_for(folder: Path) -> None:
    own = teacher(folder, "detector.online.updates=2")
    (folder / "control.json").write_text('{"learning": false}')
    shown = frames(own, 60)
    labels = [Label("1-A", number, hit) for number, (_, hit) in enumerate(shown)]
    assert not tell(own, *labels)
    (folder / "control.json").unlink()
    own.control = Control(folder / "control.json")
    assert tell(own)
    assert own.model is not None
    own.store.save(own.model.state(), {"why": "test"})
    own.store.point(1)
    assert own.before is not None
    own.before.number = 2
    own.heard([])
    assert own.before.number == 1
    with pytest.raises(StopIteration):
        next(messages_of([]))
