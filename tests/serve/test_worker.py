"""The worker: verdicts by score, doubts that keep a frame, and where a record ends."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import cbor2
import numpy as np
import pytest
import torch
import zmq
from scipy.stats import binomtest

from madem.beam.sources import Frame
from madem.beam.sources.messages import GIVEN_UP, edge_of, message_of
from madem.learn.watch import RAREST
from madem.serve.config import ServiceConfig
from madem.serve.labels import Label, messages_of
from madem.serve.sockets import joined
from madem.serve.status import KEPT, TOLD, Status
from madem.serve.worker import WATCHED, Within, Worker
from tests.beam.sources.test_stream2 import HOSTILE
from tests.serve.running import each_once, pictures, small, waited

Verdicts = list[dict[str, object]]


def fed(worker: Worker, images: list[np.ndarray], first: int = 0, age: float = 0.0) -> Verdicts:
    """Return the verdicts on images from number ``first`` on."""
    messages = [message_of(Frame("1-A", first + i, 0.01 * i, image))
                for i, image in enumerate(images)]  # fmt: skip
    if first == 0:
        messages.insert(0, edge_of("start", "1-A"))
    marks = [(first + i, time.monotonic() - age) for i in range(len(messages))]
    lines = worker.judged(messages, "e", marks)
    worker.remember(lines)
    assert worker.recorded([(place, line) for place, line, _ in lines])
    return [each for _, line, _ in lines for each in line["verdicts"]]


@pytest.fixture
def config() -> ServiceConfig:
    return small()


def test_a_verdict_is_what_the_chip_says_of_the_reduced_frame(
    folder: Path, config: ServiceConfig
) -> None:
    worker = Worker(config, folder)
    source = config.detector.source("none", config.detector.seed)
    frames = source.part(config.detector.validating.start)
    found = fed(worker, [frame.image for frame in frames])
    assert {each["why"] for each in found} <= {"score", "audit"}
    model = worker.model
    assert model is not None
    kept = model.judge(model.reference)[0] > model.cut
    ends = binomtest(int(kept.sum()), kept.numel()).proportion_ci()
    *kept, brighter = [watch.before for watch in worker.watches]
    assert kept == pytest.approx([ends.high, ends.low])
    assert RAREST <= brighter < 0.1
    hit = np.array([frame.truth.hit for frame in frames if frame.truth])
    score = np.array([each["score"] for each in found])
    assert score[hit].mean() > score[~hit].mean()
    for each in found:
        assert each["would"] == (each["score"] > model.cut)
        assert each["keep"]  # shadow is the default
    told = sum(not each["would"] and each["why"] != "audit" for each in found)
    assert 0 < worker.status.counts["would reject"] == told
    assert worker.status.counts["rejected"] == 0


def test_rejects_are_rejected_where_shadow_is_off_and_some_are_kept(folder: Path) -> None:
    worker = Worker(small("shadow=false", "audit=0.2"), folder)
    assert worker.model is not None
    worker.model.cut = 1e9
    found = [each for part in range(10) for each in fed(worker, pictures(worker.config), 20 * part)]
    audited = [each for each in found if each["why"] == "audit"]
    assert all(each["keep"] == (each["why"] == "audit") for each in found)
    assert 20 <= len(audited) <= 60  # 40 in the mean
    assert worker.status.counts["rejected"] == len(found) - len(audited)
    assert worker.status.counts["would reject"] == worker.status.counts["rejected"]


def test_what_is_in_doubt_is_kept_with_its_reason(folder: Path) -> None:
    worker = Worker(small("shadow=false", "audit=0", "late=5"), folder)
    assert worker.model is not None
    worker.model.cut = 1e9
    shape = worker.config.reading().module.shape
    (plain, *_) = pictures(worker.config, 1)
    some, half = plain.copy(), np.full(shape, 3.0, np.float32)
    some[:50] = np.nan
    half[:10] = 1.0
    shown = [(np.zeros(shape, np.float32), 0), (some, 0), (half, 0), (plain, 9), (plain, 0)]
    whys = [fed(worker, [image], n, age)[0] for n, (image, age) in enumerate(shown)]
    assert [each["why"] for each in whys] == ["dark", "masked", "saturated", "late", "score"]
    assert [each["keep"] for each in whys] == [True] * 4 + [False]
    worker.model.learner.machine.parameters[0].fill_(torch.nan)
    state = {k: torch.full_like(v, torch.nan) if v.is_floating_point() else v
             for k, v in worker.model.learner.machine.state().items()}  # fmt: skip
    worker.model.learner.machine.restore(state)
    assert fed(worker, [plain], 5)[0]["why"] in ("not finite", "not settled")
    worker.model = None
    worker.store.home.rename(folder / "elsewhere")
    assert fed(worker, [plain], 6)[0]["why"] == "no model"
    assert {"dark", "masked", "saturated", "late", "no model"} < set(worker.status.counts)


def test_a_sensor_that_changes_at_once_raises_an_alarm(folder: Path, config: ServiceConfig) -> None:
    worker = Worker(config, folder)
    at = list(WATCHED).index("blocks are brighter")
    fed(worker, pictures(config, 60))
    assert worker.sums[at] < 1
    sums = list[float]()
    for number, each in enumerate(pictures(config, 60), 60):
        fed(worker, [2 * each], number)
        sums.append(worker.sums[at])
    assert worker.status.counts["drift"] > 0
    spoke = sums.index(0.0, 5)  # it begins anew
    assert sums[spoke - 1] > worker.watches[at].threshold - 1
    assert spoke < 30


def test_a_new_worker_goes_on_where_the_record_ends(folder: Path, config: ServiceConfig) -> None:
    fed(Worker(config, folder), pictures(config, 5))
    again = Worker(config, folder)
    assert (again.place.series, again.place.next, again.at) == ("1-A", 5, ("e", 5))
    assert [each["image"] for each in fed(again, pictures(config, 3), 4)] == [5, 6]


def test_another_generation_judges_from_the_next_frames_on(
    folder: Path, config: ServiceConfig
) -> None:
    worker = Worker(config, folder)
    assert {each["model"] for each in fed(worker, pictures(config, 2))} == {1}
    model = worker.model
    assert model is not None
    model.cut = -123.0
    worker.store.save(model.state(), {"why": "test"})
    model.cut = 0.0
    assert {each["model"] for each in fed(worker, pictures(config, 2), 2)} == {2}
    assert worker.cut == -123.0
    worker.store.save({"x": torch.ones(2)}, {"why": "a generation of something else"})
    for each in (worker, Worker(config, folder)):
        assert {one["model"] for one in fed(each, pictures(config, 2), 4)} == {2}
        assert each.status.counts["damaged generation"] == 1
        assert each.cut == -123.0


def test_a_disk_that_is_full_is_counted_and_nothing_is_lost(
    folder: Path, config: ServiceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(config, folder)
    fed(worker, pictures(config, 2))
    message = message_of(Frame("1-A", 2, 0.1, pictures(config, 1)[0]))
    lines = worker.judged([message], "e", [(9, time.monotonic())])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        for name in ("write", "pwrite", "open"):
            broken.setattr(os, name, full)
        worker.remember(lines)
        assert not worker.recorded([(place, line) for place, line, _ in lines])
        more = worker.judged([message_of(Frame("1-A", 3, 0.1, pictures(config, 1)[0]))], "e",
                             [(10, time.monotonic())])  # fmt: skip
        assert not worker.recorded([(place, line) for place, line, _ in more])
        assert time.monotonic() - worker.refused < 0.5  # the disk is not asked every time
    (verdict,) = lines[0][1]["verdicts"]
    assert (verdict["keep"], verdict["why"]) == (True, "storage")
    assert worker.status.counts["storage"] == 3
    assert (worker.place.next, worker.at) == (4, ("e", 10))
    worker.refused = -9.0
    assert worker.recorded([])
    assert [each["image"] for each in fed(worker, pictures(config, 1), 4)] == [4]
    each_once(folder, "1-A", 5)


def test_lines_that_a_full_disk_has_cut_off_are_written_once(
    folder: Path, config: ServiceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, left = Worker(config, folder), [3]
    messages = [message_of(Frame("1-A", n, 0.1, pictures(config, 1)[0])) for n in range(6)]
    lines = worker.judged(messages, "e", [(n, 0.0) for n in range(6)])
    whole, own = [(place, line) for place, line, _ in lines], os.write

    def nearly_full(file: int, content: bytes) -> int:
        left[0] -= 1
        if left[0] < 1:
            raise OSError(28, "No space left on device")
        return own(file, content[: len(content) // 3])

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", nearly_full)
        assert not worker.recorded(whole)
    assert 0 < len(worker.unwritten) < 6
    worker.refused = -9.0
    assert worker.recorded([])
    each_once(folder, "1-A", 6)


def test_a_mask_holds_after_a_kill(folder: Path, config: ServiceConfig) -> None:
    bad = np.zeros(config.reading().module.shape, "<u4")
    bad[:, :200] = 1
    array = cbor2.CBORTag(40, [list(bad.shape), cbor2.CBORTag(70, bad.tobytes())])
    start = cbor2.dumps({"type": "start", "series_id": 1, "series_unique_id": "A",
                         "number_of_images": 9, "pixel_mask": {"threshold_1": array}})  # fmt: skip
    first = Worker(config, folder)
    assert first.recorded([(place, line) for place, line, _ in
                           first.judged([start], "e", [(0, 0.0)])])  # fmt: skip
    for number in (1, 2):  # each worker begins where the one before was killed
        (verdict,) = fed(Worker(config, folder), pictures(config, 1), number)
        assert verdict["why"] == "masked"
    (file,) = (folder / "verdicts/masks").iterdir()
    file.unlink()
    third = Worker(config, folder)
    assert fed(third, pictures(config, 2), 3) == []
    assert third.status.counts["mask unknown"] == 2
    assert each_once(folder, "1-A", 5) == {"lost": 1, "mask unknown": 2}


def test_one_chip_keeps_what_comes_while_it_is_written(folder: Path) -> None:
    config = small("mode=single", "shadow=false", "audit=0", "detector.online.updates=2")
    worker = Worker(config, folder)
    assert worker.model is not None
    worker.model.cut = 1e9
    with zmq.Context() as context:
        learner = Within(worker, context)
        for number, x in enumerate(worker.model.reference[:60]):
            learner.teacher.saw("1-A", number, 0.0, x)
        out = joined(context, "PUSH", f"tcp://127.0.0.1:{config.labels}")
        out.setsockopt(zmq.LINGER, 1000)
        hits = worker.model.hit[:60].tolist()
        for content in messages_of(Label("1-A", n, bool(hit)) for n, hit in enumerate(hits)):
            out.send(content)
        before = worker.model.learner.machine.parameters[0].clone()
        waited(lambda: learner.rest() or worker.busy != (0.0, 0.0))
        for each in (out, learner.labels):
            each.close()
    assert not torch.equal(before, worker.model.learner.machine.parameters[0])
    assert worker.status.counts["dead milliseconds"] > 0
    worker.busy = (time.monotonic() - 9, time.monotonic() - 5)
    (image,) = pictures(config, 1)
    while_written = fed(worker, [image], 0, time.monotonic() - worker.busy[1] + 1)
    assert [(each["why"], each["keep"]) for each in while_written] == [("writing", True)]
    assert [(each["why"], each["keep"]) for each in fed(worker, [image], 1)] == [("score", False)]


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_odd_messages_are_counted_and_the_next_frame_is_judged(
    folder: Path, config: ServiceConfig, count: int
) -> None:
    worker, draw = Worker(config, folder), random.Random(count)
    good = message_of(Frame("1-A", 0, 0.0, pictures(config, 1)[0]))
    whole = [one for many in HOSTILE.values() for one in many] + [good[:3000], good]
    for number in range(count):
        content = bytearray(draw.choice(whole))
        for _ in range(draw.choice([0, 1, 5])):
            at = draw.randrange(len(content) + 1)
            content[at : at + 1] = draw.randbytes(1)
        lines = worker.judged([bytes(content)], "e", [(number, time.monotonic())])
        assert worker.recorded([(place, line) for place, line, _ in lines])
    own = message_of(Frame("5-Z", 0, 0.0, pictures(config, 1)[0]))
    ((_, line, _),) = worker.judged([own], "e", [(count, time.monotonic())])
    assert [each["image"] for each in line["verdicts"]] == [0]
    assert worker.record.known().lines == count
    assert sum(worker.status.counts.values()) >= count


@pytest.mark.parametrize("value", [1e300, -1e300, 3e38, np.inf])
@pytest.mark.parametrize("step", [64, 4, 2])
def test_numbers_that_no_photons_are_harm_no_other_frame(
    folder: Path, config: ServiceConfig, value: float, step: int
) -> None:
    worker, images = Worker(config, folder), pictures(config, 2)
    pixels = images[0].astype("<f8")
    pixels[::step, ::step] = value
    pixels[::step, 1::step] = -value
    array = cbor2.CBORTag(40, [list(pixels.shape), cbor2.CBORTag(86, pixels.tobytes())])
    held = {"type": "image", "series_id": 1, "series_unique_id": "A", "image_id": 0,
            "data": {"threshold_1": array}}  # fmt: skip
    second = message_of(Frame("2-A", 0, 0.0, images[1]))
    lines = worker.judged([cbor2.dumps(held), second], "e", [(0, 0.0), (1, 0.0)])
    scores = [each["score"] for _, line, _ in lines for each in line["verdicts"]]
    assert len(scores) == 2
    assert None not in scores
    assert np.isfinite(worker.seen.levels).all()


def test_a_message_that_was_given_up_is_a_gap_and_its_image_is_kept(
    folder: Path, config: ServiceConfig
) -> None:
    worker, (image,) = Worker(config, folder), pictures(config, 1)
    first, last = (message_of(Frame("1-A", number, 0.0, image)) for number in (0, 2))
    lines = worker.judged([first, GIVEN_UP, last], "e", [(n, 0.0) for n in range(3)])
    assert worker.recorded([(place, line) for place, line, _ in lines])
    assert worker.status.counts["given up"] == 1
    assert each_once(folder, "1-A", 3)["lost"] == 1


def test_what_is_shown_can_be_read_by_a_page(folder: Path, config: ServiceConfig) -> None:
    worker = Worker(config, folder)
    fed(worker, pictures(config, 3))
    worker.status.written = 0.0
    worker.status.write()
    held = json.loads((folder / "status/worker.json").read_text())
    assert held["shape"] == [128, 512]
    assert sum(held["histogram"]) == 3
    assert held["counts"]["frames"] == 3
    assert held["joules"]["judging"] > 0
    assert set(KEPT) < set(TOLD)


def test_names_of_series_forge_no_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Status(tmp_path, "worker").count("lost", 1, "series 1-A\n2026 worker: \x1b[31mforged")
    assert "\n" not in caplog.messages[0]
    assert "\x1b" not in caplog.messages[0]
