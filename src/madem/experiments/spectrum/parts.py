"""The parts of a job, each done once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from madem.experiments.running.jobs import Progress, Tell
from madem.experiments.running.results import Result
from madem.experiments.running.rundir import RunDirectory

Each = TypeVar("Each")
Made = TypeVar("Made", bound=Result)


@dataclass(frozen=True)
class Parts:
    """The parts of a job, ``total`` of them, each done once: ``checkpoints/`` keeps them."""

    folder: RunDirectory
    job: str
    total: int
    tell: Tell

    def made(
        self, kind: type[Made], parts: Mapping[str, Each], make: Callable[[Each], Made]
    ) -> dict[str, Made]:
        """Return what ``make`` makes of each of ``parts``, or has made before, by their keys."""
        done: dict[str, Any] = self.folder.load_json(f"checkpoints/{self.job}.json") or {}
        for key in (key for key in parts if key not in done):
            done[key] = make(parts[key]).model_dump()
            self.folder.save_json(f"checkpoints/{self.job}.json", done)
            self.tell(Progress(self.job, len(done), self.total, key))
        return {key: kind.model_validate(done[key]) for key in parts}
