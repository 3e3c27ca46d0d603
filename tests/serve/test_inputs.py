"""The inputs of frames: found again by whoever begins anew, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from madem.serve.inputs import AT_ONCE, Inputs


def filled(path: Path, count: int, most: int = 1000, first: int = 0) -> Inputs:
    inputs = Inputs(path, most, 4)
    inputs.end()
    for image in range(first, first + count):
        inputs.add([("1-Ä", image, image / 4, np.full(4, image, np.float32))])
    return inputs


def images(inputs: Inputs) -> list[int]:
    return [each.image for each in inputs.new()]


def test_rows_come_once_and_in_order_and_again_to_whoever_begins_anew(tmp_path: Path) -> None:
    reader = Inputs(tmp_path, 1000, 4)
    assert images(reader) == []
    writer = filled(tmp_path, 700)
    assert images(reader) == list(range(700))
    writer.add([("1-Ä", 700, None, np.zeros(4, np.float32))])
    (last,) = reader.new()
    assert (last.series, last.image, last.score, last.label) == ("1-Ä", 700, None, None)
    found = list(Inputs(tmp_path, 1000, 4).new())
    assert [each.image for each in found] == list(range(701))
    assert found[5].score == 1.25
    assert found[5].x.tolist() == [5.0] * 4


def test_the_oldest_make_room_and_a_reader_that_was_overtaken_goes_on(tmp_path: Path) -> None:
    writer, reader = filled(tmp_path, 90, 100), Inputs(tmp_path, 100, 4)
    assert images(reader) == list(range(90))
    for image in range(90, 400):
        writer.add([("1-Ä", image, 0.0, np.zeros(4, np.float32))])
    assert images(reader) == list(range(300, 400))
    assert images(Inputs(tmp_path, 100, 4)) == list(range(300, 400))


def test_a_worker_begins_behind_the_newest_row_and_a_torn_one_is_none(tmp_path: Path) -> None:
    filled(tmp_path, 10)
    (file,) = tmp_path.glob("inputs.*")
    whole, size = file.read_bytes(), Inputs(tmp_path, 1000, 4).kind.itemsize
    for cut in range(9 * size, 10 * size + 1, 37):
        file.write_bytes(whole[: size + cut])
        written = 10 if cut == 10 * size else 9
        torn = Inputs(tmp_path, 1000, 4)
        assert len(images(torn)) in (written, 10)  # all but its label may be there
        filled(tmp_path, 3, first=50)
        assert images(Inputs(tmp_path, 1000, 4))[-3:] == [50, 51, 52]


def test_used_labels_stay_with_their_rows_until_these_are_taken_by_others(tmp_path: Path) -> None:
    writer = filled(tmp_path, 3, 100)
    rows = [each.row for each in Inputs(tmp_path, 100, 4).new()]
    writer.label(rows[0], True)
    writer.label(rows[2], False)
    again = [each.label for each in Inputs(tmp_path, 100, 4).new()]
    assert again == [True, None, False]
    filled(tmp_path, 99, 100, first=3)
    assert [each.label for each in Inputs(tmp_path, 100, 4).new()] == [False, *[None] * 99]
    writer.label(rows[0], True)  # too late: its row is another's
    assert [each.label for each in Inputs(tmp_path, 100, 4).new()] == [False, *[None] * 99]


def test_a_file_of_another_size_is_begun_anew(tmp_path: Path) -> None:
    filled(tmp_path, 3, 100)
    assert images(Inputs(tmp_path, 200, 4)) == []
    assert len(list(tmp_path.glob("inputs.*"))) == 1
    assert AT_ONCE < 1000


def test_files_of_others_stay(tmp_path: Path) -> None:
    mine = [tmp_path / name for name in ("inputs.csv", "inputs.1.csv", "inputs.h5", "inputs.1.2.3")]
    for each in mine:
        each.write_text("mine")
    (tmp_path / "inputs.7.8").mkdir()
    filled(tmp_path, 3, 100)
    assert [each.read_text() for each in mine] == ["mine"] * 4
    assert (tmp_path / "inputs.7.8").is_dir()
