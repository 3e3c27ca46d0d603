"""The config of the service: every field with its default."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from madem.beam.sources.hdf5 import Recorded
from madem.beam.sources.simulated import Simulated
from madem.beam.sources.stream2 import Reading
from madem.experiments.config.base import Strict
from madem.experiments.config.machines import ChipConfig
from madem.experiments.detector.config import DetectorConfig

ADDRESS = re.compile(r"tcp://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[1-9]\d{0,4}|ipc://[!-~]+")
"""Of a detector."""
Port = Annotated[int, Field(ge=1, le=65535)]
Some = Annotated[int, Field(ge=1, le=1_000_000)]
Edge = Annotated[int, Field(ge=0, le=1_000_000)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class ServiceConfig(Strict):
    """A chip beside one module of a detector judges frames as they come, and keeps learning.

    ``detector``: module, reduction, chip, and how it is calibrated and taught, as ``madem run
    detector`` has them. ``protocol`` and ``source``: where frames come from, an address of Stream
    v2 or the name of a process variable; ``channel``: which threshold, the first where null;
    ``corner``: where the module begins in larger images; ``photon``: what one counts. ``file``: an
    HDF5 file of calibration frames with their ``labels``; simulated ones where null.

    ``shadow``: whether all is kept and verdicts are only told. ``rejected``: the share of frames
    without a hit to be rejected; ``audit``: of these, the share that is kept all the same.
    ``late``: after how many seconds a frame is kept unseen; ``masked``: from which share of masked
    pixels on; ``warming``: how many frames the running statistics need. ``mode``: *twin*, where a
    second chip learns and takes over, or *single*, where frames are kept while the one is written.

    ``ring`` messages and ``ring_bytes`` wait at most, the oldest are dropped; ``together``: how
    many are judged at once. ``remembered``: frames for which a label may come. ``trial``: labels
    between two trials of what was learned; ``held``: newest labels, one in five, that are never
    learned from, but tried on; ``worse``: how many more hits may be missed among the calibration
    frames. ``generations`` are kept, besides pinned ones. ``hung``: after how many seconds without
    a sign of life a process is killed and begun again.

    ``verdicts``, ``labels`` and ``page`` are ports on ``host``; ``beyond_loopback`` must be true
    for a host that others can reach.
    """

    experiment: Literal["service"] = "service"
    detector: DetectorConfig = DetectorConfig(machine=ChipConfig(chips=1, arrays=5))
    protocol: Literal["stream2", "pva"] = "stream2"
    source: str = Field("tcp://127.0.0.1:31001", min_length=1, max_length=200)
    channel: str | None = None
    corner: tuple[Edge, Edge] = (0, 0)
    photon: float = Field(1.0, ge=1e-9, le=1e6)
    file: str | None = None
    labelled: str = "labels"
    shadow: bool = True
    rejected: float = Field(0.9, gt=0, lt=1)
    audit: float = Field(0.01, ge=0, le=1)
    late: float = Field(1.0, gt=0, le=3600)
    masked: Fraction = 0.2
    warming: Some = 50
    mode: Literal["twin", "single"] = "twin"
    ring: Some = 1000
    ring_bytes: int = Field(2**30, ge=2**20, le=2**40)
    together: int = Field(25, ge=1, le=1000)
    remembered: Some = 20_000
    trial: Some = 100
    held: Some = 300
    worse: float = Field(0.02, ge=0, le=1)
    generations: int = Field(20, ge=2, le=10_000)
    hung: float = Field(60.0, ge=1, le=86_400)
    host: str = "127.0.0.1"
    beyond_loopback: bool = False
    verdicts: Port = 31011
    labels: Port = 31012
    page: Port = 31080

    @model_validator(mode="after")
    def _listens_where_it_may(self) -> ServiceConfig:
        try:
            near = ip_address(self.host).is_loopback
        except ValueError:
            raise ValueError(f"host must be an IP address, but is {self.host!r}") from None
        if not near and not self.beyond_loopback:
            raise ValueError(
                f"host {self.host} can be reached by others: set beyond_loopback, or 127.0.0.1"
            )
        if len({self.verdicts, self.labels, self.page}) < 3:
            raise ValueError("verdicts, labels and page must be three different ports")
        if self.detector.machine.chips != 1:
            raise ValueError("detector.machine.chips must be 1: a service has one module")
        if self.protocol == "stream2" and not ADDRESS.fullmatch(self.source):
            raise ValueError(f"source must be tcp://HOST:PORT for stream2, but is {self.source!r}")
        return self

    def address(self, port: Literal["verdicts", "labels", "page"], how: str = "tcp") -> str:
        """Return where a port is, as ``how`` names it.

        >>> ServiceConfig(host="::1").address("page", "http")
        'http://[::1]:31080'
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{how}://{host}:{getattr(self, port)}"

    def reading(self) -> Reading:
        """Return how messages become frames."""
        return Reading(self.detector.module.make(where="detector.module"), self.channel,
                       self.corner, self.photon)  # fmt: skip

    def calibration(self) -> Simulated | Recorded:
        """Return the labelled frames from which the chip is calibrated."""
        if self.file is None:
            return self.detector.source("none", self.detector.seed)
        module = self.detector.module.make(where="detector.module")
        return Recorded(Path(self.file), module, labels=self.labelled, corner=self.corner,
                        photon=self.photon, names=("file", "file", "labelled"))  # fmt: skip
