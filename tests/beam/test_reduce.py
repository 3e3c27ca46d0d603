"""What is kept of a frame: against a slow reference, and blind to what comes after it."""

from __future__ import annotations

import numpy as np
import pytest

from madem.beam.geometry import Module
from madem.beam.reduce import Reduction, deviating, third_largest, usual_of
from madem.errors import InputError

SHAPES = (Module(), Module(rows=24, columns=40, grid=(1, 2), blocks=2),
          Module(rows=9, columns=9, grid=(3, 3), blocks=1))  # fmt: skip


@pytest.mark.parametrize("module", SHAPES, ids=lambda m: str(m.shape))
def test_blocks_are_those_of_a_loop_over_all_of_them(module: Module) -> None:
    draws = np.random.default_rng(0)
    frames = draws.poisson(1.0, (3, *module.shape)).astype(np.float32)  # with many ties
    found = third_largest(frames, module)
    down, along = module.grid[0] * module.blocks, module.grid[1] * module.blocks
    height, width = module.rows // down, module.columns // along
    for f in range(3):
        for r in range(down):
            for c in range(along):
                block = frames[f, r * height : (r + 1) * height, c * width : (c + 1) * width]
                assert found[f, r * along + c] == sorted(block.ravel())[-3]


def test_a_residual_is_above_the_median_of_its_own_readout_chip() -> None:
    module = SHAPES[1]
    reduction, draws = Reduction(module), np.random.default_rng(0)
    frames = draws.normal(size=(2, *module.shape)).astype(np.float32)
    frames[:, :, 20:] += 100
    medians = reduction.medians(frames)
    for side in (slice(0, 20), slice(20, 40)):
        some = frames[0, ::2, side][:, ::2]
        assert np.unique(medians[0, :, side]) == pytest.approx([np.median(some)])
    plain = reduction(reduction.init(), frames).plain
    alike = frames.copy()
    alike[:, :, 20:] -= 100
    np.testing.assert_allclose(plain, reduction(reduction.init(), alike).plain, atol=2e-5)


def test_deviations_are_by_medians() -> None:
    draws = np.random.default_rng(0)
    before = draws.normal(5.0, 2.0, (4000, 3)).astype(np.float32)
    levels = np.float32([[5.0, 7.0, 9.0]])
    for usual in (usual_of(before), deviating(before)):
        np.testing.assert_allclose(usual(levels)[0], [0.0, 1.0, 2.0], atol=0.1)
    before[:200] = 1000.0  # a twentieth of them hits
    np.testing.assert_allclose(usual_of(before)(levels)[0], [0.0, 0.8, 1.6], atol=0.15)
    before[:800] = 1000.0  # a fifth of them
    np.testing.assert_allclose(deviating(before)(levels)[0], [-0.25, 0.5, 1.3], atol=0.25)


def test_what_is_reduced_depends_on_no_later_frame() -> None:
    module = SHAPES[1]
    draws, reduction = np.random.default_rng(0), Reduction(module, window=20)
    frames = draws.poisson(1.0, (60, *module.shape)).astype(np.float32)
    other = frames.copy()
    other[40:] *= 7

    def run(images: np.ndarray) -> list[np.ndarray]:
        seen, out = reduction.init(), []
        for first in range(0, 60, 10):
            found = reduction(seen, images[first : first + 10])
            seen = found.seen
            out.append(found.unusual)
        return out

    for early, late in list(zip(run(frames), run(other), strict=True))[:4]:
        np.testing.assert_array_equal(early, late)
    assert len(run(frames)) == 6


def test_hot_pixels_are_left_out_alone_and_in_clusters_and_come_back() -> None:
    module = SHAPES[1]
    draws, reduction = np.random.default_rng(0), Reduction(module, window=50)
    hot = np.zeros(module.shape, bool)
    hot[3:5, 3:5] = hot[10, 30] = True
    seen, gone = reduction.init(), []
    for batch in range(60):
        frames = draws.poisson(0.5, (10, *module.shape)).astype(np.float32)
        frames[:, hot] += 30.0 if batch < 30 else 0.0
        found = reduction(seen, frames)
        seen = found.seen
        gone.append(seen.bright > reduction.often)
    assert (gone[29][hot]).all()
    assert gone[29].sum() <= hot.sum() + 1
    assert not gone[59].any()


def test_bad_pixels_are_never_used() -> None:
    module = SHAPES[1]
    frames = np.zeros((1, *module.shape), np.float32)
    bad = np.zeros(module.shape, bool)
    bad[:3, :3] = True
    frames[:, bad] = 1e6
    reduction = Reduction(module)
    assert reduction(reduction.init(), frames, bad).plain.max() == 0
    with pytest.raises(InputError, match="window must be at least 10"):
        Reduction(module, window=1)


def test_what_is_usual_and_what_is_bright_run_over_the_window() -> None:
    """A pixel that is always bright is so by ``1 - (1 - frames / window)^batches``."""
    module = SHAPES[1]
    draws, reduction = np.random.default_rng(0), Reduction(module, window=25, often=1.0)
    seen, before = reduction.init(), np.zeros((0, module.features), np.float32)
    for batch in range(8):
        frames = draws.poisson(0.5, (10, *module.shape)).astype(np.float32)
        frames[:, 4, 4] = 50.0
        found = reduction(seen, frames)
        usual = usual_of(before[-25:] if batch else found.levels)
        np.testing.assert_array_equal(found.unusual, usual(found.levels))
        before, seen = np.concatenate([before, found.levels]), found.seen
        assert seen.bright[4, 4] == pytest.approx(1 - (1 - 10 / 25) ** (batch + 1))
        np.testing.assert_array_equal(seen.levels, before[-25:])
