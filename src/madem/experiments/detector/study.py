"""A detector that keeps learning beside the beam: one job for every shift and what happens in it.

In a shift every strategy judges the same frames and gets the same labels; what is trained before it
is trained on the same frames.
"""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from madem.beam.reduce import block_means
from madem.beam.sources import Source
from madem.data.detector import Shift, reduced
from madem.errors import InputError
from madem.experiments.detector.bench import REJECTED, Bench, Found
from madem.experiments.detector.config import Condition, DetectorConfig
from madem.experiments.detector.cuts import missed_at
from madem.experiments.detector.results import DetectorResults
from madem.experiments.detector.scores import results_of, windows_of
from madem.experiments.detector.strategies import STRATEGIES, calibrations
from madem.experiments.running.experiment import Experiment, Records
from madem.experiments.running.jobs import Job, Progress, Tell
from madem.experiments.running.online import calibrate, spent_on
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.running.trained import checkpointed, refuse_numbers
from madem.learn.watch import watch_of
from madem.randomness import stream
from madem.training import cells_in

TELL_AFTER = 500
"""Frames between two reports of a job."""


def frames_of(config: DetectorConfig, folder: RunDirectory, name: str, tell: Tell) -> Shift:
    """Return the frames of a shift, reduced: those that the run has, or made now and kept there.

    ``name``: of the condition and the seed; conditions that differ in labels alone share frames.
    """
    condition, _, seed = name.partition(".")
    seen: Condition = "all" if condition == "scarce" else condition  # type: ignore[assignment]
    file = checkpointed(f"frames.{seen}.{seed}")
    held = folder.load_tensors(file)
    if held is not None:
        return Shift(**held[0])
    total = steps_of(config)

    def heard(done: int) -> None:
        if done % TELL_AFTER < config.block:
            tell(Progress(name, done, total, "frames"))

    source: Source = config.source(seen, int(seed))
    if config.own is not None and seen == "own":
        source = islice(config.own.source(config.module.make()), config.before + config.frames)
    shift = reduced(source, config.reducing(), config.block, heard)
    if len(shift) < config.before + config.frames or bool((shift.hit < 0).any()):
        raise InputError(
            f"own: {int((shift.hit >= 0).sum())} of the first {config.before + config.frames} "
            "frames can be read and have a label, but all must: take fewer frames, or mend them"
        )
    folder.save_tensors(file, {each.name: getattr(shift, each.name) for each in fields(shift)})
    return shift


def shift_job(
    config: DetectorConfig, path: Path, condition: Condition, seed: int, tell: Tell
) -> dict[str, Any]:
    """Let every strategy work through one shift; keep its scores of late frames, and its costs.

    Tensors: the late scores of each, ``(chips, frames)``, ``hit`` and ``spots`` of these frames.
    """
    folder, name = RunDirectory(path), f"{condition}.{seed}"
    total = steps_of(config)
    shift = frames_of(config, folder, name, tell)
    known = {both: calibrate(plan, folder, ".".join((name, *both)))
             for both, plan in calibrations(config, shift, seed).items()}  # fmt: skip
    tell(Progress(name, len(shift), total, "calibrated"))
    labels = config.labelling(condition)
    asked, label = labels.given(shift.hit, stream(seed, "labels", condition))
    module = config.module.make()
    near = torch.from_numpy(block_means(module.q, module))
    bench = Bench(config, shift, asked, label, labels.delay, known, seed, near)
    kept, told = dict[str, Tensor](), dict[str, Any]()
    for number, (key, strategy) in enumerate(STRATEGIES.items()):
        before, title = len(shift) + number * config.frames, strategy.title

        def heard(done: int, before: int = before, title: str = title) -> None:
            if done % TELL_AFTER < config.block:
                tell(Progress(name, before + done, total, title))

        found = strategy.run(replace(bench, tell=heard), key)
        kept[key], told[key] = found.score[:, -late_of(config) :].float(), outcome(bench, found)
    late = slice(len(shift) - late_of(config), None)
    kept |= {"hit": shift.hit[late], "spots": shift.spots[late]}
    folder.save_tensors(f"jobs/{name}.safetensors", kept)
    return told


def steps_of(config: DetectorConfig) -> int:
    """Return how many frames a job makes and judges."""
    return config.before + config.frames * (1 + len(STRATEGIES))


def late_of(config: DetectorConfig) -> int:
    """Return how many frames of a shift are late."""
    return max(1, round(config.late * config.frames))


def outcome(bench: Bench, found: Found) -> dict[str, Any]:
    """Return what is told of a strategy besides its late scores."""
    config = bench.config
    hit, first = bench.shift.hit[bench.tested], config.validation
    early = found.score[:, :first]
    cut = early[:, hit[:first] == 0].quantile(REJECTED, -1, keepdim=True)
    late = slice(-late_of(config), None)
    rejected, own = found.score[:, late] <= cut, hit[late] == 1
    return {
        "before": float(missed_at(early, hit[:first] == 1, REJECTED).mean()),
        "deployed": [float(rejected[:, own].double().mean()),
                     float(rejected[:, ~own].double().mean())],
        "windows": windows_of(found.score[:, first:], hit[first:] == 1),
        "writes": float(found.writes.mean()) / cells_in(bench.trained["unusual", "chip"].plan),
        "alarms": found.alarms,
        "kept": kept_alarms(found.score, cut, first),
        "spent": spent_on(found.judging, found.learning, found.score.shape[-1], config.frames),
    }  # fmt: skip


def kept_alarms(score: Tensor, cut: Tensor, first: int) -> list[tuple[int, int]]:
    """Return of which chip, and after how many frames, the share of frames kept had changed.

    It hears no label: alarms for twice and for half of the odds of keeping, whichever
    comes first; an alarm begins anew.
    """
    alarms = list[tuple[int, int]]()
    for chip, kept in enumerate(score > cut):
        for watch in (watch_of(int(kept[:first].sum()), first, factor, 2) for factor in (2.0, 0.5)):
            total, done, later = 0.0, 0, kept[first:].tolist()
            while done < len(later):
                total, at = watch.heard(total, later[done:])
                done = len(later) if at is None else done + at + 1
                alarms += [] if at is None else [(chip, done)]
    return sorted(alarms)


def jobs_of(config: DetectorConfig, path: Path) -> list[Job]:
    """Return one job for every shift."""
    return [
        Job(f"{condition}.{seed}", steps_of(config), shift_job, (config, path, condition, seed))
        for condition in config.conditions
        for seed in range(config.seed, config.seed + config.seeds)
    ]


def check(config: DetectorConfig) -> None:
    """Raise ``InputError`` for a config that cannot be built, its scene included."""
    for condition in config.conditions:
        source = config.source(condition, config.seed)
        config.labelling(condition)
        for scene in filter(None, (source.scene, source.other)):
            scene.check(source.sensor.module)
    if config.own is not None:
        found, wanted = len(config.own.source(config.module.make())), config.before + config.frames
        if found < wanted:
            raise InputError(
                f"own.path: it holds {found} frames, but warming, calibration, validation and "
                f"frames are {wanted}: let frames be {max(0, found - config.before)}, or less"
            )
    config.teaching()
    plan = config.plan("check", config.seed)
    refuse_numbers(plan)
    plan.making.assemble(plan)
    config.reducing()


def summarise(config: DetectorConfig, folder: RunDirectory, held: Records) -> DetectorResults:
    """Return how every strategy did under every condition, with intervals, and what is claimed."""
    return results_of(config, {name: folder.tensors(name) for name in held}, held)


EXPERIMENT = Experiment("detector", DetectorConfig, check, jobs_of, summarise)
