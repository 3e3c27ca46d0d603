"""One network of any study on the bench, as it was saved."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from madem.errors import InputError, nearest, shown
from madem.experiments.catalogue import experiment
from madem.experiments.config.base import Strict
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.running.trained import restored
from madem.machine import CircuitMachine, Machine, Simulated, cells_of
from madem.solver import Solver
from madem.training import Plan


@dataclass(frozen=True)
class Subject:
    """A network on the bench: its ``plan``, and its ``machine`` as it was saved, or untrained."""

    plan: Plan
    machine: Machine

    def sample(self, number: int) -> tuple[Tensor, Tensor]:
        """Return sample ``number`` of the test set and its target, each a batch of one.

        Raises ``InputError`` where there is no such sample.
        """
        x, target = self.plan.held("test")
        if not 0 <= number < len(x):
            raise InputError(f"sample must be from 0 to {len(x) - 1}, but is {number}")
        return x[number : number + 1], target[number : number + 1]

    def samples(self, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Return the first samples of the test set, and their targets, ``(*chips, count, ...)``.

        The first 32 by default, or all where there are fewer. Raises ``InputError`` where there
        are fewer than ``count``.
        """
        x, target = self.plan.held("test")
        count = min(32, len(x)) if count is None else count
        if not 1 <= count <= len(x):
            raise InputError(f"samples must be from 1 to {len(x)}, the samples to test on, but is "
                             f"{count}")  # fmt: skip
        chips = self.plan.ensemble
        return tuple(part[:count].expand(*chips, *part[:count].shape) for part in (x, target))  # type: ignore[return-value]

    @property
    def simulated(self) -> Simulated:
        """The simulated machine on the bench, or that whose weights are a circuit's.

        Raises ``InputError`` for a machine whose equations are not known.
        """
        found = self.machine.inner if isinstance(self.machine, CircuitMachine) else self.machine
        if not isinstance(found, Simulated):
            raise InputError(f"a {type(found).__name__} machine does not show what it computes "
                             "with, so that it cannot be looked at")  # fmt: skip
        return found

    def still(self, dtype: torch.dtype, solver: Solver) -> Simulated:
        """Return the same machine in ``dtype``, without read noise and without converters.

        Wires and lines that differ stay.
        """
        twin = Subject(self.plan, self.plan.making.assemble(self.plan)).simulated
        held = self.simulated.state()
        twin.restore({k: t.to(dtype) if t.is_floating_point() else t for k, t in held.items()})
        for store in twin.stores:
            pairs = cells_of(store)
            if pairs is not None:
                pairs.fluctuate(0.0)
        return Simulated(twin.network, solver, twin.stores, twin.periphery.still)


def put_on_bench(config: Strict, run: RunDirectory | None, network: str | None) -> Subject:
    """Return the ``network`` of a config, the first by default, as ``run`` has saved it, if given.

    Raises ``InputError`` for an unknown network, for a study that has none of its own, and where
    the run has not saved it yet, or has saved another than the config describes.
    """
    study = experiment(config.experiment)  # type: ignore[attr-defined]
    plans = study.plans(config)
    if not plans:
        raise InputError(f"experiment {study.name!r} has no networks of its own to look at")
    name = next(iter(plans)) if network is None else network
    if name not in plans:
        raise InputError(f"--network: unknown network {shown(name)}: {nearest(name, plans)}")
    machine = plans[name].making.assemble(plans[name])
    return Subject(plans[name], machine if run is None else restored(machine, run, name))
