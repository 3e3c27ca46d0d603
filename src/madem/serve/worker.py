"""The worker: messages become frames, frames numbers, and the chip's answer a verdict.

Whatever is in doubt is kept, with the reason counted. A verdict is in the record before it is sent,
and the receiver forgets a message after that: a kill at any time loses none and repeats none.
"""

from __future__ import annotations

import base64
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from madem.beam import needed
from madem.beam.reduce import Usual, usual_of
from madem.beam.sources import Frame, Gap
from madem.beam.sources.messages import LARGEST
from madem.beam.sources.stream2 import Place
from madem.data.detector import lit, shaken
from madem.experiments.running.files import locked
from madem.learn.watch import Page, watch_of
from madem.serve.config import ServiceConfig
from madem.serve.learner import ALARMS, Teacher, inputs_of
from madem.serve.model import Model, newest
from madem.serve.record import Record
from madem.serve.sockets import bound, joined, offered, taken
from madem.serve.status import Control, Status
from madem.serve.store import Store

MOST = 100_000
"""Lines that wait in memory where the disk refuses them; then no more messages are asked for."""
AT_ONCE = 1000
"""Lines that are written at once."""
RETRY = 0.5
"""Seconds after which a disk that has refused is tried again."""
ASK = 0.5
"""Seconds after which the receiver is asked again."""
BINS = 40
"""Of the histogram of scores."""
WATCHED = {"more frames are kept": 2.0, "fewer frames are kept": 0.5, "blocks are brighter": 2.0}
"""What alarms hear here, and how many times its odds are to change."""
Judged = tuple[Place, dict[str, Any], list[tuple[Frame, Tensor]]]
"""Where a message has led to, its line, and its frames as inputs."""
GOLDEN = 0x9E3779B97F4A7C15
"""Spreads numbers evenly over 64 bits: which rejects are kept does not depend on the frames."""


class Worker:
    """The state of one worker: its model, what the frames before have left, and what it shows."""

    def __init__(self, config: ServiceConfig, folder: Path) -> None:
        """Begin with the current generation, where the record ends."""
        self.config, self.folder = config, folder
        self.status = Status(folder / "status", "worker")
        self.control = Control(folder / "control.json")
        self.store, self.record = Store(folder, config.generations), Record(folder / "verdicts")
        self.reading, self.reduction = config.reading(), config.detector.reducing()
        self.lines, self.place, self.at = self.record.known()
        self.unwritten, self.refused = list[tuple[Place, dict[str, Any]]](), -RETRY
        self.inputs = inputs_of(config, folder)
        self.inputs.end()
        self.model: Model | None = None
        self.seen = self.reduction.init()
        self.usual: Usual | None = None
        self.stamp, self.fresh = 0, 0
        self.histogram = np.zeros(BINS, int)
        self.watches, self.sums = list[Page](), [0.0] * len(WATCHED)
        self.busy = (0.0, 0.0)
        self.refresh()

    def refresh(self) -> None:
        """Take over another generation, where ``CURRENT`` names one."""
        try:
            stamp = (self.folder / "CURRENT").stat().st_mtime_ns
        except OSError:
            stamp = 0
        if stamp == self.stamp and self.model is not None:
            return
        self.stamp = stamp
        found = newest(self.config, self.store)
        if found is not None and found.number != self.store.pointed():
            self.status.count(self.store.fault() or "damaged generation")
        if self.model is None or found is None:
            self.model = found
        else:
            self.model.restore(found.state(), found.number)
            return
        if self.model is not None:
            self.seen = self.model.seen
            shown = self.model.reference
            kept = int((self.model.judge(shown)[0] > self.model.cut).sum())
            told = (kept, kept, int(shaken(shown).sum()))
            self.watches = [watch_of(each, len(shown), by, ALARMS)
                            for each, by in zip(told, WATCHED.values(), strict=True)]  # fmt: skip

    def judged(
        self, messages: Sequence[bytes], epoch: str, marks: Sequence[tuple[int, float]]
    ) -> list[Judged]:
        """Return for each message the place after it, its line, and its frames as inputs."""
        self.refresh()
        steps = list(self.reading.followed(messages, self.place))
        frames = [each for _, found in steps for each in found if isinstance(each, Frame)]
        came = [mark[1] for mark, (_, found) in zip(marks, steps, strict=True)
                for each in found if isinstance(each, Frame)]  # fmt: skip
        verdicts = iter(self._verdicts(frames, came))
        lines = []
        for (number, _), (place, found) in zip(marks, steps, strict=True):
            gaps, own = list[dict[str, Any]](), list[tuple[dict[str, Any], Frame, Tensor]]()
            for each in found:
                if isinstance(each, Gap):
                    gaps.append({"image": each.number, "count": each.count, "why": each.why})
                    self.status.count(each.why, max(1, each.count), f"series {each.series}")
                else:
                    verdict, x = next(verdicts)
                    own.append((verdict, each, x))
            self.lines += 1
            line = {"n": self.lines, "at": [epoch, number], "gaps": gaps,
                    "verdicts": [verdict for verdict, _, _ in own]}  # fmt: skip
            lines.append((place, line, [(frame, x) for _, frame, x in own]))
            self.place, self.at = place, (epoch, number)
        return lines

    def recorded(self, lines: Sequence[tuple[Place, dict[str, Any]]]) -> bool:
        """Write the lines, and return whether all are in the record.

        Where the disk refuses, they wait, and their frames are kept whatever their score says.
        """
        waited = bool(self.unwritten)
        self.unwritten += lines
        if waited and time.monotonic() - self.refused < RETRY:
            return self._kept(lines)
        try:
            while self.unwritten:
                self.record.add(self.unwritten[:AT_ONCE])
                del self.unwritten[:AT_ONCE]
        except OSError:
            self.refused = time.monotonic()
            with suppress(OSError):  # some of them may be in the record
                known = self.record.known().lines
                self.unwritten = [each for each in self.unwritten if each[1]["n"] > known]
            return self._kept(lines)
        return True

    def _kept(self, lines: Sequence[tuple[Place, dict[str, Any]]]) -> bool:
        """Keep the frames of lines that cannot be written, and count them."""
        wait = {line["n"] for _, line in self.unwritten}
        verdicts = [each for _, line in lines if line["n"] in wait for each in line["verdicts"]]
        self.status.count("storage", max(1, len(verdicts)))
        for each in verdicts:
            each |= {"keep": True, "would": True, "why": "storage"}
        return False

    def remember(self, lines: Sequence[Judged]) -> None:
        """Keep the inputs of frames, for labels that come later."""
        try:
            for _, line, frames in lines:
                self.inputs.add([
                    (frame.series, frame.number, verdict["score"], x.numpy())
                    for verdict, (frame, x) in zip(line["verdicts"], frames, strict=True)
                ])  # fmt: skip
        except OSError:
            self.status.count("storage")

    def _verdicts(
        self, frames: Sequence[Frame], came: Sequence[float]
    ) -> list[tuple[dict[str, Any], Tensor]]:
        """Return the verdict of each frame, and its inputs."""
        if not frames:
            return []
        x, score, rest = self._asked(frames)
        now, found = time.monotonic(), list[tuple[dict[str, Any], Tensor]]()
        shadow = self.control().get("shadow", self.config.shadow)
        for i, (frame, since) in enumerate(zip(frames, came, strict=True)):
            value = float(score[i])
            doubt = self._doubt(frame, value, bool(rest[i]), now - since, since)
            would = doubt is not None or not value <= self.cut  # nor is a cut that is no number
            why = doubt or "score"
            if doubt is None and not would and self._audited(frame.number):
                why = "audit"
            keep = would or shadow or why == "audit"
            self.status.counts["would reject"] += not would and why != "audit"
            self.status.counts["frames"] += 1
            self.status.counts["kept" if keep else "rejected"] += 1
            if why != "score":
                self.status.count(why, 1, f"series {frame.series}")
            if doubt is None:
                self._watch(value, would, x[i])
            number = 0 if self.model is None else self.model.number
            found.append(({
                "image": frame.number, "score": value if math.isfinite(value) else None,
                "would": would, "keep": bool(keep), "why": why, "model": number,
            }, x[i]))  # fmt: skip
        self._picture(frames[-1], found[-1][0])
        return found

    @property
    def cut(self) -> float:
        """The score above which a frame is kept."""
        return -math.inf if self.model is None else self.model.cut

    def _asked(self, frames: Sequence[Frame]) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs, scores, and whether the chip came to rest."""
        masks = [each.mask for each in frames if each.mask is not None]
        bad = np.logical_or.reduce(masks) if masks else None
        if self.usual is None or self.fresh >= self.config.detector.block:
            self.usual = usual_of(self.seen.levels) if len(self.seen.levels) else None
            self.fresh = 0
        images = np.stack([each.image for each in frames])
        found = self.reduction(self.seen, images, bad, self.usual)
        self.seen, self.fresh = found.seen, self.fresh + len(frames)
        x = lit(torch.from_numpy(found.unusual))
        if self.model is None:
            return x, torch.zeros(len(frames)), torch.ones(len(frames), dtype=torch.bool)
        return x, *self.model.judge(x)

    def _doubt(
        self, frame: Frame, score: float, rest: bool, waited: float, came: float
    ) -> str | None:
        """Return why a frame is kept whatever its score says, None where there is no doubt."""
        image = frame.image
        high = float(image.max())
        doubts = {
            "no model": self.model is None,
            "writing": self.busy[0] <= came <= self.busy[1],
            "late": waited > self.config.late,
            "masked": frame.mask is not None and float(frame.mask.mean()) > self.config.masked,
            "dark": high <= 0,
            "saturated": high > 0 and float((image == high).mean()) > 0.5,
            "warming": len(self.seen.levels) < self.config.warming,
            "not settled": not rest,
            "not finite": not math.isfinite(score),
        }
        return next((why for why, holds in doubts.items() if holds), None)

    def _audited(self, number: int) -> bool:
        """Return whether a frame that is rejected is kept all the same."""
        return (number * GOLDEN) % 2**64 < self.config.audit * 2**64

    def _watch(self, score: float, kept: bool, x: Tensor) -> None:
        """Hear a verdict: its place in the histogram, and whether what is watched has changed."""
        place = int(BINS * (1 / (1 + math.exp(-max(-30.0, min(30.0, score))))))
        self.histogram[min(place, BINS - 1)] += 1
        told = (kept, kept, bool(shaken(x)))
        for i, (why, watch) in enumerate(zip(WATCHED, self.watches, strict=True)):
            self.sums[i], at = watch.heard(self.sums[i], [told[i]])
            if at is not None:
                self.status.count("drift", 1, why)

    def _picture(self, frame: Frame, verdict: Mapping[str, Any]) -> None:
        """Show the newest frame, its verdict, and all that the page has of the worker."""
        now = time.monotonic()
        if now - self.status.written < self.status.every:
            return
        high = float(np.percentile(frame.image[::2, ::2], 99.8)) or 1.0
        grey = (255 * np.clip(frame.image / high, 0, 1)).astype(np.uint8)
        shown = {
            "series": frame.series, **verdict, "white": high, "place": self.place.next,
            "picture": base64.b64encode(grey.tobytes()).decode(), "shape": list(grey.shape),
            "histogram": self.histogram.tolist(), "model": getattr(self.model, "number", 0),
            "shadow": bool(self.control().get("shadow", self.config.shadow)), "cut": self.cut,
        }  # fmt: skip
        if self.model is not None:
            cells = self.model.learner.machine.parameters[0][0]
            near = [at / each.threshold for at, each in zip(self.sums, self.watches, strict=True)]
            shown |= {"joules": self.model.joules(), "weights": cells.tolist(), "alarms": near}
        if not math.isfinite(self.cut):
            shown["cut"] = None
        self.status.shown = shown


def work(config: ServiceConfig, folder: Path, sockets: Path, alive: Callable[[], bool]) -> None:
    """Judge as long as the service is ``alive``; one worker at a time, so that none is repeated."""
    with locked(folder / "verdicts"):
        _work(Worker(config, folder), sockets, alive)


def _work(worker: Worker, sockets: Path, alive: Callable[[], bool]) -> None:
    config, cbor2 = worker.config, needed("cbor2", "serve")
    context = needed("zmq", "serve").Context()
    torch.set_num_threads(1)
    out = bound(context, "PUSH", config.address("verdicts"), "verdicts")
    within = Within(worker, context) if config.mode == "single" else None
    ring = joined(context, "DEALER", f"ipc://{sockets}/ring", LARGEST)
    while alive():
        if len(worker.unwritten) >= MOST and not worker.recorded([]):
            time.sleep(RETRY)
            continue
        ring.send(cbor2.dumps([*worker.at, config.together, os.getpid()]))
        if not ring.poll(round(1000 * ASK)):  # the receiver may have died: another hears this one
            ring.close(0)
            ring = joined(context, "DEALER", f"ipc://{sockets}/ring", LARGEST)
            worker.recorded([])
            worker.status.write()
            continue
        head, *messages = ring.recv_multipart()
        epoch, marks, _ = cbor2.loads(head)
        lines = worker.judged(messages, epoch, marks)
        worker.remember(lines)
        worker.recorded([(place, line) for place, line, _ in lines])
        now = time.monotonic()
        worker.status.waits.extend(now - came for _, came in marks)
        for place, line, _ in lines:
            for verdict in line["verdicts"]:
                if not offered(out, cbor2.dumps({"series": place.series, **verdict})):
                    worker.status.count("unsent")
        if within is not None:
            within.rest()
        worker.status.write()


class Within:
    """A learner that writes the one chip of a worker, between its frames."""

    def __init__(self, worker: Worker, context: Any) -> None:
        """Open the socket at which labels come."""
        config = worker.config
        self.worker = worker
        self.teacher = Teacher(config, worker.folder, worker.model, worker.status)
        self.labels = bound(context, "PULL", config.address("labels"), "labels")

    def rest(self) -> None:
        """Learn what has come; frames that come meanwhile are kept, and the time is counted."""
        began = time.monotonic()
        if self.teacher.heard(taken(self.labels)):
            self.worker.busy = began, time.monotonic()
            dead = round(1000 * (self.worker.busy[1] - began))
            self.worker.status.counts["dead milliseconds"] += dead
