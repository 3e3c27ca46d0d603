"""A training inside a run: on from its checkpoint, leaving others, telling how far it is."""

from __future__ import annotations

from collections.abc import Callable

from madem.errors import InputError, abridged
from madem.experiments.running.jobs import Progress, Tell
from madem.experiments.running.rundir import RunDirectory
from madem.machine import Machine
from madem.machine.stores import part_of
from madem.training import Plan, Trainer, predicts

EVERY = 250
"""Steps between two checkpoints."""

OFTEN = 50
"""Steps between two reports of a training that leaves no checkpoints."""


def last_look(trainer: Trainer) -> str:
    """Return what the last look found, in a few words."""
    scores = trainer.curve[-1]["score"]
    return f"validation {sum(scores) / len(scores):.3f}"


def stepping(tell: Tell, job: str, total: int, text: str, before: int = 0) -> Callable[[int], None]:
    """Return what hears of the steps of a training, and tells of some as progress of ``job``.

    ``before``: how many of the ``total`` steps of the job were made before.
    """

    def heard(step: int) -> None:
        if step % OFTEN == 0 or before + step == total:
            tell(Progress(job, before + step, total, text))

    return heard


def within(tell: Tell, job: str, before: int, total: int) -> Tell:
    """Return what tells of a part of ``job`` as progress of the whole, ``total`` steps long.

    ``before``: how many of these steps come before the part. The name of the part goes before its
    words where it has one of its own.
    """

    def heard(part: Progress) -> None:
        text = part.text if part.job == job else f"{part.job.removeprefix(f'{job}.')}: {part.text}"
        tell(Progress(job, before + part.done, total, text))

    return heard


def refuse_numbers(plan: Plan) -> None:
    """Raise ``InputError`` where the task of ``plan`` has numbers to predict: none can be right."""
    held = plan.held("test")
    if predicts(plan.task.cost, held[1]):
        raise InputError("task: right decisions are counted here, but it has numbers to predict")


def checkpointed(job: str) -> str:
    """Return where ``job`` leaves its checkpoint."""
    return f"checkpoints/{job}.safetensors"


def resumed(trainer: Trainer, folder: RunDirectory, job: str) -> Trainer:
    """Let ``trainer`` go on from the checkpoint of ``job`` in ``folder``, where there is one.

    Raises ``InputError`` where it is damaged.
    """
    name = checkpointed(job)
    held = folder.load_tensors(name)
    if held is None:
        return trainer
    try:
        trainer.restore(held)
    except (KeyError, ValueError, RuntimeError, TypeError):
        raise InputError(
            f"{abridged(folder.path / name)} is damaged; remove it to train this network again"
        ) from None
    return trainer


def restored(machine: Machine, folder: RunDirectory, job: str) -> Machine:
    """Let ``machine`` be as ``job`` last saved it in ``folder``.

    Raises ``InputError`` where nothing is saved yet, or another machine.
    """
    held = folder.load_tensors(checkpointed(job))
    if held is None:
        raise InputError(f"{abridged(folder.path)} holds no checkpoint of {job} yet")
    try:
        machine.restore(part_of(held[0], "machine."))
    except (InputError, KeyError) as error:
        raise InputError(f"what {abridged(folder.path)} has saved of {job} is of another config "
                         f"than this: {error}") from None  # fmt: skip
    return machine


def train(
    trainer: Trainer,
    folder: RunDirectory,
    job: str,
    tell: Tell,
    until: int | None = None,
    said: Callable[[Trainer], str] = last_look,
) -> None:
    """Train to the end, or to the step ``until``."""
    steps = trainer.plan.schedule.steps if until is None else until
    often, whole = max(1, min(EVERY, steps // 200)), max(steps, trainer.plan.schedule.steps)
    if trainer.step:
        tell(Progress(job, trainer.step, whole, said(trainer)))
    while trainer.step < steps:
        trainer.advance()
        kept = trainer.step % EVERY == 0 or trainer.step == steps
        if kept:
            folder.save_tensors(checkpointed(job), *trainer.state())
        if kept or trainer.step % often == 0:
            tell(Progress(job, trainer.step, whole, said(trainer)))
