"""The learner: what labels teach a chip, tried before it judges, undone where it is worse."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import torch
from torch import Tensor

from madem.beam import needed
from madem.errors import InputError
from madem.learn.watch import Page, watch_of
from madem.serve.config import ServiceConfig
from madem.serve.inputs import Inputs
from madem.serve.labels import labels_in
from madem.serve.model import Model, cut_of, made, missed, newest
from madem.serve.record import Record
from madem.serve.sockets import bound, taken
from madem.serve.status import Control, Status
from madem.serve.store import Store

HELD_OUT = 5
"""One label in so many is never learned from."""
LEAST = 20
"""Held-out hits, and others, below which they say nothing."""
ALARMS = 4
"""Of the service, three of them in the worker."""
BACK_OFF = 64
"""How many times longer a trial may be put off, after one that failed."""

Key = tuple[str, int]


class Sample(NamedTuple):
    """A frame that was judged: its score then, its inputs, and their row in the file of inputs."""

    score: float | None
    x: Tensor
    row: int = 0


class Teacher:
    """What is known of frames and labels, and the chip that is taught.

    ``frames``: those for which a label may still come; ``waiting``: labels that came before their
    frames; ``known``: labels that were used; ``held``: inputs and labels that are only tried on.
    All of these but ``waiting`` are known again after a kill, from the file of inputs.
    """

    def __init__(
        self, config: ServiceConfig, folder: Path, model: Model | None, status: Status
    ) -> None:
        """Begin with ``model``, and the current generation as what it is measured against."""
        self.config, self.status = config, status
        self.store, self.control = (
            Store(folder, config.generations),
            Control(folder / "control.json"),
        )
        self.inputs, self.record = inputs_of(config, folder), Record(folder / "verdicts")
        self.model, self.before = model, newest(config, self.store)
        self.frames: OrderedDict[Key, Sample] = OrderedDict()
        self.newest, self.reached = dict[str, int](), dict[str, int]()
        self.waiting: OrderedDict[Key, bool] = OrderedDict()
        self.known: OrderedDict[Key, bool] = OrderedDict()
        self.held: deque[tuple[Tensor, bool]] = deque(maxlen=config.held)
        self.fresh: list[tuple[Tensor, bool]] = []
        self.learned, self.patience, self.since = 0, 1, 0.0
        self.watch, self.sum = self._watch(), 0.0
        self.refused: int | None = None
        with self._stored():
            self.store.prune()
        if noted := [e for e in self.store.noted() if e.get("since") == self.store.pointed()]:
            status.count("chip written since", round(sum(e.get("cells", 0) for e in noted)))

    def look(self) -> None:
        """Remember the frames that were judged since, and labels that were used before a kill."""
        for row, series, image, score, x, label in self.inputs.new():
            if label is None:
                self.saw(series, image, score, torch.from_numpy(x), row)
            else:
                self._know((series, image), label)
                if _held_out((series, image)):
                    self.held.append((torch.from_numpy(x), label))

    def saw(self, series: str, number: int, score: float | None, x: Tensor, row: int = 0) -> None:
        """Remember a frame that was judged."""
        key = (series, number)
        if key in self.known:  # it was judged, but not in the record, before the worker was killed
            return
        self.frames[key] = Sample(score, x, row)
        self.newest[series] = max(number, self.newest.get(series, -1))
        while len(self.frames) > self.config.remembered:
            self.frames.popitem(last=False)
        while len(self.newest) > 1000:
            self.newest.pop(next(iter(self.newest)))
        if key in self.waiting:
            self._use(key, self.waiting.pop(key))

    def heard(self, messages: Iterable[bytes]) -> bool:
        """Hear labels, learn where there are enough, and return whether the chip was written."""
        self.look()
        self.reached.clear()
        for content in messages:
            for label in labels_in(content):
                if label is None:
                    self.status.count("label refused")
                else:
                    self._hear((label.series, label.image), label.hit)
        if self.model is None or not self.control().get("learning", True):
            return False
        self._follow(self.model)
        if len(self.fresh) < self.config.detector.block:
            return False
        self._learn(self.model)
        if self.learned >= self.config.trial * self.patience:
            self._try(self.model)
        return True

    def _hear(self, key: Key, hit: bool) -> None:
        """Take one label in, whenever it comes."""
        if key in self.known:
            self.status.count("label twice" if self.known[key] == hit else "label contradicts")
        elif key in self.frames:
            self._use(key, hit)
        elif key in self.waiting:
            if self.waiting[key] != hit:
                del self.waiting[key]
            self.status.count("label contradicts" if key not in self.waiting else "label twice")
        elif self._judged(*key):
            self.status.count("label unknown")
        elif key in self.frames:
            self._use(key, hit)
        else:
            self.waiting[key] = hit
            self.status.count("label waits")
            if len(self.waiting) > self.config.remembered:
                self.waiting.popitem(last=False)
                self.status.count("label flood")

    def _judged(self, series: str, number: int) -> bool:
        """Return whether the record is past a frame that is not remembered, after another look."""
        if number > self.newest.get(series, -1):
            if series not in self.reached:
                self.reached[series] = self.record.reached(series)
            self.look()
            if number < self.reached[series] and (series, number) not in self.frames:
                self.newest[series] = self.reached[series] - 1
        return number <= self.newest.get(series, -1) and (series, number) not in self.frames

    def _know(self, key: Key, hit: bool) -> None:
        self.known[key] = hit
        if len(self.known) > self.config.remembered:
            self.known.popitem(last=False)

    def _use(self, key: Key, hit: bool) -> None:
        """Use the label of a frame that is remembered: to learn from, or to try on."""
        score, x, row = self.frames.pop(key)
        self._know(key, hit)
        if row:
            with self._stored():
                self.inputs.label(row, hit)
        self.status.counts["labels"] += 1
        if _held_out(key):
            self.held.append((x, hit))
        else:
            self.fresh.append((x, hit))
        if score is not None and self.before is not None:
            self.sum, at = self.watch.heard(self.sum, [(score > self.before.cut) != hit])
            if at is not None:
                self.status.count("drift", 1, "share of wrong verdicts, by labels")

    def _learn(self, model: Model) -> None:
        """Teach the chip all labels that have come."""
        x, hit = torch.stack([x for x, _ in self.fresh]), torch.tensor([h for _, h in self.fresh])
        before, began = float(model.learner.written.mean()), time.monotonic()
        model.learner.learn(x, hit.long())
        self.learned += len(self.fresh)
        cells = float(model.learner.written.mean()) - before
        self._note({"labels": len(self.fresh), "cells": cells})
        self.status.counts["learned"] += len(self.fresh)
        self.fresh, self.since = [], time.monotonic() - began

    def _try(self, model: Model) -> None:
        """Let the chip judge from now on where it is not worse; else undo what it has learned."""
        assert self.before is not None
        old, new = (missed(each, self.config.rejected) for each in (self.before, model))
        worse, cut = self.worse(model), self.cut(model)
        said = {"missed": new, "missed before": old, "labels": self.learned, "held out": worse}
        if new <= old + self.config.worse and not worse > 0:
            model.cut = cut
            try:
                number = self.store.save(model.state(), {"why": "learned", **said})
            except OSError:
                self.status.count("storage")
                return
            self.before.restore(self.store.load(number).tensors, number)
            model.number, self.patience = number, 1
            self.status.count("promoted", 1, f"generation {number}")
        else:
            self.undo(model)
            self.patience = min(2 * self.patience, BACK_OFF)
            self.status.count("rolled back", 1, f"missed {new:.3f}, before {old:.3f}")
        self.learned, self.status.shown["trial"] = 0, said

    def worse(self, model: Model) -> float:
        """Return how many more of the held-out hits are missed than before, where that is sure.

        The lower end of a one-sided 95 % interval of the paired difference; -1 where there are too
        few labels.
        """
        hit = torch.tensor([hit for _, hit in self.held], dtype=torch.long)
        if self.before is None or min(int(hit.sum()), int((1 - hit).sum())) < LEAST:
            return -1.0
        x = torch.stack([x for x, _ in self.held])
        missing = []
        for each in (self.before, model):
            score = each.judge(x)[0]
            missing.append((score[hit == 1] <= cut_of(score, hit, self.config.rejected)).double())
        less = missing[1] - missing[0]
        return float(less.mean() - 1.645 * less.std() / math.sqrt(len(less)))

    def cut(self, model: Model) -> float:
        """Return the cut of the newest labels without a hit; where few, of the reference."""
        others = [x for x, hit in self.held if not hit]
        if len(others) < LEAST:
            return cut_of(model.judge(model.reference)[0], model.hit, self.config.rejected)
        score = model.judge(torch.stack(others))[0]
        return cut_of(score, torch.zeros(len(others)), self.config.rejected)

    def undo(self, model: Model) -> None:
        """Program the chip back to what judges: that takes writes, which are counted."""
        assert self.before is not None
        own, old = model.learner, self.before.learner.machine.parameters
        began = float(own.written.mean())
        machine = own.machine.watched(own.draws, own.learning)
        own.write(machine, [to - at for to, at in zip(old, own.machine.parameters, strict=True)])
        own.memory = own.rule.init(own.machine.parameters)
        cells = float(own.written.mean()) - began
        self._note({"undone": True, "cells": cells})

    def _note(self, entry: dict[str, float]) -> None:
        """Note in the journal, and count, which cells were written."""
        self.status.counts["cells written"] += round(entry["cells"])
        with self._stored():
            self.store.note(entry)

    @contextmanager
    def _stored(self) -> Iterator[None]:
        """Go on where storage fails, and count it."""
        try:
            yield
        except OSError:
            self.status.count("storage")

    def _follow(self, model: Model) -> None:
        """Go back where a person has made another generation the current one."""
        assert self.before is not None
        pointed = self.store.pointed()
        if pointed not in (None, self.before.number, self.refused):
            try:
                self.before = made(self.config, self.store.load(pointed))
            except InputError:
                self.refused = pointed
                self.status.count(self.store.fault() or "damaged generation")
                return
            self.undo(model)
            model.cut, self.learned = self.before.cut, 0

    def _watch(self) -> Page:
        """Return the alarm for wrong verdicts: for twice the odds among the reference frames."""
        if self.before is None:
            return watch_of(10, 100, alarms=ALARMS)
        score = self.before.judge(self.before.reference)[0]
        wrong = (score > self.before.cut) != (self.before.hit == 1)
        return watch_of(int(wrong.sum()), wrong.numel(), alarms=ALARMS)


def inputs_of(config: ServiceConfig, folder: Path) -> Inputs:
    """Return the inputs of the newest frames of a service."""
    features = config.detector.reducing().module.features
    return Inputs(folder, config.remembered, features)


def _held_out(key: Key) -> bool:
    """Return whether the label of a frame is only tried on, the same whoever asks."""
    return crc32(f"{key[0]} {key[1]}".encode()) % HELD_OUT == 0


def learn(config: ServiceConfig, folder: Path, sockets: Path, alive: Callable[[], bool]) -> None:
    """Learn as long as the service is ``alive``."""
    del sockets
    context = needed("zmq", "serve").Context()
    torch.set_num_threads(1)
    status, store = Status(folder / "status", "learner"), Store(folder, config.generations)
    model = newest(config, store)
    teacher = Teacher(config, folder, model, status)
    labels = bound(context, "PULL", config.address("labels"), "labels")
    while alive():
        labels.poll(200)
        teacher.heard(taken(labels))
        status.shown |= {
            "waiting": len(teacher.waiting), "remembered": len(teacher.frames),
            "held out": len(teacher.held), "alarm": teacher.sum / teacher.watch.threshold,
            "dummy": status.counts["labels"] // config.detector.block,
            "learning": bool(teacher.control().get("learning", True)),
        }  # fmt: skip
        if model is not None:
            status.shown["joules"] = model.joules()
        status.write()
