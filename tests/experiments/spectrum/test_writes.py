"""Ways of writing: counted, priced and listed."""

from __future__ import annotations

import csv
from pathlib import Path

from madem.experiments.spectrum.config import SpectrumConfig
from madem.experiments.spectrum.writes import written_with
from madem.machine.pulses import HEADER
from tests.experiments.spectrum.test_study import SMALL


def test_ways_of_writing_are_counted_and_listed(tmp_path: Path) -> None:
    config = SpectrumConfig.of(SMALL | {"writes_steps": 5})
    dense = written_with(config, "program-and-verify every step", tmp_path)
    sparse = written_with(config, "accumulate 15 uS, program-and-verify")
    assert dense.written > 0.2 > sparse.written
    assert dense.write_joules > 4 * sparse.write_joules  # the first programming is in neither
    (file,) = (tmp_path / "pulses").iterdir()
    with file.open() as lines_of:
        lines = list(csv.reader(lines_of))
    assert tuple(lines[0]) == HEADER
    assert {line[0] for line in lines[1:]} == set("01234")
    assert all(0 <= int(line[2]) < 64 and 0 <= int(line[3]) < 64 for line in lines[1:])
