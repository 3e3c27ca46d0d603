"""The record: what was judged is known after a kill at any byte."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from madem.beam.sources.stream2 import Place
from madem.serve import record as record_module
from madem.serve.record import Record


def line(n: int, image: int, would: bool = True, gap: int = 0) -> tuple[Place, dict[str, Any]]:
    place = Place("1-A", image + 1, 0.5, "<u2", 9, True, (), (gap,))
    gaps = [{"image": image - gap, "count": gap, "why": "lost"}] if gap else []
    verdict = {"image": image, "score": 1.5, "would": would, "keep": True, "why": "score"}
    return place, {"n": n, "at": ["e", n], "gaps": gaps, "verdicts": [verdict]}


def test_a_kill_at_any_byte_leaves_whole_lines(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.known()
    record.add([line(1, 0)])
    whole = record.file("1-A").read_bytes()
    record.add([line(2, 1), line(3, 4, gap=2)])
    everything = record.file("1-A").read_bytes()
    for cut in range(len(whole), len(everything) + 1, 7):
        record.file("1-A").write_bytes(everything[:cut])
        known = record.known()
        assert known.lines == everything[:cut].count(b"\n")
        assert known.at == ("e", known.lines)
        assert record.file("1-A").read_bytes().endswith(b"\n")
    record.file("1-A").write_bytes(everything)
    assert record.known().place == Place("1-A", 5, 0.5, "<u2", 9, True, (), (2,))


def test_the_newest_series_is_gone_on_with_and_the_others_are_over(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.known()
    place, first = line(1, 0)
    record.add([(place, first)])
    record.add([(place._replace(series="2-B/../x"), line(2, 0)[1])])
    known = record.known()
    assert (known.place.series, known.place.over, known.lines) == ("2-B/../x", ("1-A",), 2)
    assert {each.parent for each in tmp_path.rglob("*.jsonl")} == {tmp_path}  # no way out of it
    assert Record(tmp_path / "none").known().lines == 0


def test_the_mask_of_a_series_is_known_again_or_is_known_to_be_lost(tmp_path: Path) -> None:
    record, mask = Record(tmp_path), bytes(range(64))
    record.known()
    place, first = line(1, 0)
    record.add([(place._replace(mask=mask), first)])
    assert record.known().place.mask == mask
    (file,) = (tmp_path / "masks").iterdir()
    for harm in (mask[:-1], None):
        file.unlink() if harm is None else file.write_bytes(harm)
        assert record.known().place.mask is None
    record.add([(place._replace(mask=None), line(2, 1)[1])])
    assert record.known().place.mask is None
    record.add([(place, line(3, 2)[1])])
    assert record.known().place.mask == b""


def test_lines_are_written_in_order_whatever_series_they_are_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Record(tmp_path)
    record.known()
    lines = [line(n, n) for n in range(1, 5)]
    lines[1] = (lines[1][0]._replace(series="2-B"), lines[1][1])
    calls, own = [0], os.write

    def full(file: int, content: bytes) -> int:
        calls[0] += 1
        if calls[0] == 3:
            raise OSError(28, "No space left on device")
        return own(file, content[:-5] if calls[0] == 2 else content)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="space"):
        record.add(lines)
    monkeypatch.undo()
    assert record.known().lines == 1  # the second was torn, and nothing was written after it
    assert record.reached("1-A") == 2
    assert record.reached("2-B") == 0
    record.add(lines[1:])
    assert [each["n"] for each in record.lines("1-A")] == [1, 3, 4]
    assert [each["n"] for each in record.lines("2-B")] == [2]
    assert record.reached("1-A") == 5


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"[]\n",
        b"{}\n",
        b"\xff\xfe\n",
        b'{"n": 1}\n',
        b"[" * 9000 + b"\n",
        b'{"n": 1, "at": ["e", 1], "place": ["1-A", 1, 0.5, "<u2", 9, true]}\n',
        b'{"n": "1", "at": ["e", 1], "place": ["1-A", 1, 0.5, "<u2", 9, true, []]}\n',
        b'{"n": 1, "at": ["e", 1], "place": ["1-A", 1, 0.5, "<u2", 9, true, 7], "mask": 3}\n',
    ],
)
def test_a_file_that_holds_no_line_is_passed_over(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "1-A.jsonl").write_bytes(text)
    assert Record(tmp_path).known().lines == 0


def test_frames_to_be_kept_are_listed_and_flagged(tmp_path: Path) -> None:
    record = Record(tmp_path / "verdicts")
    record.known()
    record.add([line(1, 0, False), line(2, 1), line(3, 4, gap=2), line(4, 5, False)])
    listed, flags = record.export("1-A", tmp_path / "frames")
    numbers = [row for row in listed.read_text().splitlines() if not row.startswith("#")]
    assert numbers == ["1", "2", "3", "4"]  # 2 and 3 were not judged: they are kept
    with h5py.File(flags) as file:
        assert file["entry/madem/keep"][:].tolist() == [0, 1, 2, 2, 1, 0]
        assert np.isnan(file["entry/madem/score"][2])


def test_an_announcement_of_a_billion_frames_lists_no_billion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "MOST", 1000)
    record = Record(tmp_path / "verdicts")
    record.known()
    place, said = line(1, 3)
    record.add([(place, said | {"gaps": [{"image": 4, "count": 10**9, "why": "end missed"}]})])
    listed = record.export("1-A", tmp_path / "out")[0].read_text()
    assert listed.count("\n") == 3 + 1000
