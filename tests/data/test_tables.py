"""Tables of one's own: what they become, and what is refused, in one line that says where."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from madem.data.sets import divide
from madem.data.tables import csv_table
from madem.data.task import Finite
from madem.errors import InputError
from madem.network import CrossEntropy, SquaredError

PARTS = ("training", "validation", "test")


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="session")
def tumours(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, np.ndarray, np.ndarray]:
    """569 tumours, 30 columns, as a CSV file with the diagnosis in words."""
    datasets = pytest.importorskip("sklearn.datasets")
    held = datasets.load_breast_cancer()
    path = tmp_path_factory.mktemp("tumours") / "tumours.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*held.feature_names, "diagnosis"])
        for row, kind in zip(held.data, held.target, strict=True):
            table.writerow([*map(repr, row.tolist()), held.target_names[kind]])
    return str(path), held.data, held.target


def rows_of(task: Finite, data: np.ndarray, reach: float = 3.0) -> dict[str, list[int]]:
    """Which rows of ``data`` are in each set: those with the same unscaled numbers."""
    numbers = {tuple(row): index for index, row in enumerate(data.astype(np.float32).tolist())}
    return {p: [numbers[tuple(row)] for row in getattr(task, p)[0].tolist()] for p in PARTS}


def test_tumours_are_divided_and_scaled_without_a_leak(
    tumours: tuple[str, np.ndarray, np.ndarray],
) -> None:
    path, data, kinds = tumours
    plain = csv_table(path, "diagnosis", reach=None)
    assert plain.inputs == (30,)
    assert plain.outputs == 2
    assert plain.names == ("benign", "malignant")
    assert plain.cost == CrossEntropy()
    rows = rows_of(plain, data)
    assert [len(rows[part]) for part in PARTS] == [399, 85, 85]
    assert sorted(sum(rows.values(), [])) == list(range(569))  # noqa: RUF017
    for part in PARTS:
        target = getattr(plain, part)[1]
        assert target.tolist() == [
            1 - int(kinds[row]) for row in rows[part]
        ]  # malignant is 0 there
        share = float(target.double().mean())
        assert abs(share - 212 / 569) < 1 / len(target)
    scaled = csv_table(path, "diagnosis")
    seen = data[rows["training"]]
    for part in PARTS:
        wanted = ((data[rows[part]] - seen.mean(0)) / seen.std(0) / 3).clip(-1, 1)
        assert getattr(scaled, part)[0].numpy() == pytest.approx(wanted, abs=1e-6)


def test_what_is_tested_on_does_not_move_what_is_trained_on(
    tumours: tuple[str, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """Other numbers in the test rows leave every training and validation input as it was."""
    path, data, _ = tumours
    tested = rows_of(csv_table(path, "diagnosis", reach=None), data)["test"]
    lines = Path(path).read_text().splitlines()
    for row in tested:
        lines[1 + row] = ",".join(["1e6"] * 30 + [lines[1 + row].split(",")[-1]])
    other = csv_table(write(tmp_path / "other.csv", "\n".join(lines)), "diagnosis")
    for part in ("training", "validation"):
        assert getattr(other, part)[0].equal(getattr(csv_table(path, "diagnosis"), part)[0])
    assert other.test[0].eq(1).all()


def test_the_division_follows_the_seed(tumours: tuple[str, np.ndarray, np.ndarray]) -> None:
    path, _, _ = tumours
    one, again, other = (csv_table(path, "diagnosis", seed=seed) for seed in (1, 1, 2))
    assert one.test[0].equal(again.test[0])
    assert not one.test[0].equal(other.test[0])


def test_every_class_is_in_every_set_in_its_share() -> None:
    classes = np.repeat(np.arange(4), [400, 300, 200, 100])
    np.random.default_rng(0).shuffle(classes)
    parts = divide(classes, (0.5, 0.2, 0.3), seed=3)
    assert sorted(np.concatenate(parts)) == list(range(1000))
    for part, share in zip(parts, (0.5, 0.2, 0.3), strict=True):
        assert len(part) == round(1000 * share)
        assert (
            np.abs(np.bincount(classes[part]) - share * np.array([400, 300, 200, 100])).max() <= 1
        )


def test_a_number_to_predict(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 2))
    y = 5 + 300 * x[:, 0]
    lines = "\n".join(f"{a};{b};{c}".replace(".", ",") for (a, b), c in zip(x, y, strict=True))
    path = write(tmp_path / "a.csv", "a;b;y\r\n" + lines)
    task = csv_table(path, "y", predict="numbers")
    assert task.outputs == 1
    assert task.names == ()
    assert isinstance(task.cost, SquaredError)
    x_seen, y_seen = task.training
    assert y_seen.shape == (28, 1)
    assert float(y_seen.mean()) == pytest.approx(0, abs=1e-6)
    assert float(y_seen.std(correction=0)) == pytest.approx(1, abs=1e-6)
    # y is a line in the first input alone: one number joins both scales
    slope = y_seen[:, 0] / x_seen[:, 0]
    assert bool((x_seen.abs() < 1).all())
    assert slope.numpy() == pytest.approx(np.full(28, 3.0), rel=1e-4)
    plain = csv_table(path, "y", predict="numbers", reach=None).training[0][:, 0].numpy()
    rows = np.abs(x[:, 0] - plain[:, None]).argmin(1)
    assert task.spreads == pytest.approx([y[rows].std()])
    assert y_seen[:, 0].numpy() == pytest.approx(
        (y[rows] - y[rows].mean()) / y[rows].std(), abs=1e-5
    )
    zero = torch.zeros(28, 1)
    assert bool(task.cost.correct(zero, y_seen).eq(y_seen[:, 0].abs() <= 0.5).all())


def test_columns_are_chosen(tmp_path: Path) -> None:
    rows = "\n".join(f"{i},{i % 7},{-i},{'ny'[i % 2]}" for i in range(40))
    path = write(tmp_path / "a.csv", f'id,"a, b",c,ill\n{rows}\n\n')
    assert csv_table(path, "ill").inputs == (3,)
    assert csv_table(path, "ill", without=("id",)).inputs == (2,)
    one = csv_table(path, "ill", columns=("c",), reach=None)
    two = csv_table(path, "ill", columns=("c", "a, b"), reach=None)
    assert two.training[0][:, :1].equal(one.training[0])
    assert bool(((-two.training[0][:, 0]) % 7).eq(two.training[0][:, 1]).all())


def test_names_may_be_numbers_beside_one_that_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "0,1,y\n" + ROWS)
    assert csv_table(path, "y", columns=("1",)).inputs == (1,)


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_delimiters_are_found(sign: str, tmp_path: Path) -> None:
    rows = "\n".join(sign.join([str(i), "0.5", "1"[: i % 2] or "0"]) for i in range(30))
    path = tmp_path / "a.csv"
    path.write_bytes(("\ufeff" + sign.join(["a", "caf\u00e9", "y"]) + "\n" + rows).encode())
    assert csv_table(str(path), "y", columns=("a", "caf\u00e9")).names == ("0", "1")


def test_classes_are_found_and_ordered_as_numbers(tmp_path: Path) -> None:
    rows = "\n".join(f"{i},{(2, 10, 1)[i % 3]}" for i in range(60))
    task = csv_table(write(tmp_path / "a.csv", f"a,y\n{rows}"), "y", reach=None)
    assert task.names == ("1", "2", "10")
    x, target = task.training
    assert target.tolist() == [(1, 2, 0)[int(i) % 3] for i in x[:, 0]]


def test_a_constant_column_becomes_zero(tmp_path: Path) -> None:
    rows = "\n".join(f"{i},0.1,{i % 2}" for i in range(40))
    task = csv_table(write(tmp_path / "a.csv", f"a,b,y\n{rows}"), "y")
    for part in PARTS:
        x = getattr(task, part)[0]
        assert x[:, 1].eq(0).all()
        assert not x[:, 0].eq(0).all()


ROWS = "".join(f"{i},{i * i},{'yn'[i % 2]}\n" for i in range(20))
BAD: dict[str, tuple[str, dict[str, object], str]] = {
    "empty cell": ("a,b,y\n1,,n\n" + ROWS, {}, "line 2: the column 'b' is missing"),
    "question mark": ("a,b,y\n" + ROWS + "?,2,n\n", {}, "line 22: the column 'a' is missing"),
    "nan": ("a,b,y\n1,NaN,n\n" + ROWS, {}, "line 2: the column 'b' is missing"),
    "infinite": ("a,b,y\n1,inf,n\n" + ROWS, {}, "line 2: the column 'b' must be within 1e\\+30"),
    "missing target": ("a,b,y\n" + ROWS + "1,2,\n", {}, "line 22: the column 'y' is missing"),
    "text": ("a,b,y\n1,red,n\n" + ROWS, {}, "line 2: the column 'b' must hold numbers, but has 'r"),
    "text to predict": ("a,b,y\n" + ROWS, {"predict": "numbers"}, "'y' must hold numbers, but has"),
    "one class": ("a,b,y\n1,2,n\n3,4,n\n5,6,n\n7,8,n\n", {}, "'y' is 'n' in every row"),
    "class left out": ("a,b,y\n" + ROWS + "1,2,rare\n", {}, "'rare' has 1 of 21 rows, none of the"),
    "few rows": ("a,b,y\n1,2,n\n3,4,y\n", {}, "2 rows are too few to be divided"),
    "no rows": ("a,b,y\n", {}, "has no rows below its header"),
    "no header": ("1,2,n\n" + ROWS, {}, "line 1 must name the columns, 'y' among them, but"),
    "numbers for names": ("0,1,2\n" + ROWS.replace("y", "1").replace("n", "0"), {}, "has the num"),
    "empty file": ("", {}, "line 1 has one column"),
    "no such target": ("a,b,yes\n" + ROWS, {}, "task.target: .* has no column 'y'.*yes"),
    "no such column": ("a,b,y\n" + ROWS, {"columns": ("a", "bb")}, "task.columns: .*column 'bb'"),
    "nothing to leave out": ("a,b,y\n" + ROWS, {"without": ("id",)}, "task.without: .*column 'id'"),
    "target among columns": ("a,b,y\n" + ROWS, {"columns": ("a", "y")}, "must not hold the target"),
    "nothing left": ("a,b,y\n" + ROWS, {"without": ("a", "b")}, "task.without leaves no column"),
    "same name twice": ("a,a,y\n" + ROWS, {}, "line 1: the column 'a' is there twice"),
    "no name": (",b,y\n" + ROWS, {}, "line 1: column 1 has no name"),
    "ragged": ("a,b,y\n1,2\n" + ROWS, {}, "line 2: 2 values for 3 columns"),
    "ragged long": ("a,b,y\n" + ROWS + "1,2,n,4\n", {}, "line 22: 4 values for 3 columns"),
    "open quote": ('a,b,y\n1,"2,n\n' + ROWS, {}, "cannot be cut into cells"),
    "bytes": ("a,b\0,y\n" + ROWS, {}, "is not text"),
    "shares": ("a,b,y\n" + ROWS, {"shares": (0.5, 0.5, 0.5)}, "task.shares must be three numbers"),
    "no share": ("a,b,y\n" + ROWS, {"shares": (1.0, 0.0, 0.0)}, "task.shares must be three"),
    "reach": ("a,b,y\n" + ROWS, {"reach": 0.0}, "task.reach must be positive"),
    "all constant": (
        "a,y\n" + "".join(f"1,{i % 2}\n" for i in range(20)), {}, "every column is the same",
    ),
    "constant target": (
        "a,y\n" + "".join(f"{i},2\n" for i in range(20)), {"predict": "numbers"},
        "'y' is the same in every row",
    ),
    "numbers as classes": (
        "a,y\n" + "".join(f"{i},0.{i}1\n" for i in range(20)), {}, "task.predict numbers if it",
    ),
    "two decimal signs": (
        "a;y\n" + "".join(f"1.234,{i};{i % 2}\n" for i in range(20)), {}, "'a' must hold numbers",
    ),
    "long label": (
        "a,y\n" + "".join(f"{i},{'x' * 101}\n" for i in range(20)), {}, "at most 100 characters",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    text, options, told = BAD[name]
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(InputError, match=told) as caught:
        csv_table(path, "y", **options)  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("name", "told"), [("none.csv", "no such file"), (".", "is a directory")])
def test_no_table(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"task.path: .*{told}"):
        csv_table(str(tmp_path / name), "y")


def test_a_batch_larger_than_the_table_is_refused(tmp_path: Path) -> None:
    task = csv_table(write(tmp_path / "a.csv", "a,b,y\n" + ROWS), "y")
    with pytest.raises(InputError, match="batch must be at most 14"):
        task.batches((2, 15), torch.Generator(), 0)


def test_a_file_beyond_the_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: it takes no room
    with pytest.raises(InputError, match="GiB are available: lower the size of"):
        csv_table(str(path), "y")
