"""How networks lie on arrays."""

from __future__ import annotations

import pytest
import torch

from madem.errors import InputError
from madem.machine import lay_out, place


def test_the_default_networks_fit_as_planned() -> None:
    sides = {
        "classify, one layer": ([(32, 61)], ["arrays"]),
        "classify, two layers": ([(31, 61), (32, 32)], ["outputs", "outputs"]),
        "reconstruct, one layer": ([(60, 61)], ["arrays"]),
        "reconstruct, two layers": ([(31, 61), (60, 32)], ["outputs", "inputs"]),
    }
    for shapes, expected in sides.values():
        assert [placement.side for placement in place(shapes)] == expected


@pytest.mark.parametrize(
    ("shapes", "arithmetic"),
    [
        ([(65, 61)], "61 lines by 65 outputs need 61 x 65 on each"),
        ([(33, 61), (32, 34)], "61 x 66 with pairs along the outputs or 122 x 33"),
        ([(8, 8), (8, 9), (8, 9)], "3 layers need 3 arrays, one each, but the chip has 2"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_arithmetic(
    shapes: list[tuple[int, int]], arithmetic: str
) -> None:
    with pytest.raises(InputError, match=arithmetic):
        place(shapes)


@pytest.mark.parametrize("shapes", [[(32, 61)], [(31, 61), (60, 32)], [(31, 61), (32, 32)]])
def test_every_cell_lies_somewhere_once(shapes: list[tuple[int, int]]) -> None:
    start, pairs = 1.0, []
    for post, pre in shapes:
        size = 2 * post * pre
        pairs.append(start + torch.arange(size, dtype=torch.float64).reshape(2, 1, post, pre))
        start += size
    laid = lay_out(place(shapes), pairs)
    assert laid.shape == (1, 2, 64, 64)
    used = laid[~laid.isnan()]
    assert used.sort().values.tolist() == [1.0 + i for i in range(int(start) - 1)]
