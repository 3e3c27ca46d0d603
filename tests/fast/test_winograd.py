"""Convolutions in tiles against the direct form, and what a network of them learns from."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence

import pytest
import torch
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from madem.fast import prepare
from madem.fast.convolutions import Largest, Tiled
from madem.fast.winograd import convolve, convolve_largest, fits, pack, weigh
from madem.learn import Implicit, centred, compare
from madem.machine import Simulated
from madem.network import (
    Amplifier,
    Average,
    Box,
    Conv,
    Dense,
    Free,
    Layer,
    Maximum,
    Move,
    Network,
    SquaredError,
)
from madem.network.convolutions import Convolution, Filter
from madem.network.pooling import Pool, Pooled
from madem.randomness import stream
from madem.solver import Sweep
from tests.conftest import skip_without

ERRORS = {torch.float32: 5e-6, torch.float64: 1e-14}


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("instructions", ["baseline", "avx2", "avx512"])
@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize(
    "shape",
    [
        (2, 16, 32, 9, 6),
        (3, 48, 16, 4, 4),
        (1, 32, 64, 3, 17),
        (1, 16, 48, 5, 4),
        (61, 16, 16, 8, 8),
        (3, 16, 512, 20, 20),
    ],
)
def test_tiles_against_the_direct_form(
    shape: tuple[int, ...], padding: int, dtype: torch.dtype, instructions: str
) -> None:
    skip_without(instructions)
    count, pre, post, height, width = shape
    draws = stream(0, "tiles")
    x = torch.randn(count, pre, height, width, generator=draws, dtype=torch.float64)
    kernel = torch.randn(post, pre, 3, 3, generator=draws, dtype=torch.float64)
    found = convolve(x.to(dtype), pack(kernel.to(dtype)), padding, instructions)
    wanted = functional.conv2d(x, kernel, padding=padding)
    assert found.shape == wanted.shape
    assert relative(found.double(), wanted) < ERRORS[dtype]
    z = torch.randn(wanted.shape, generator=draws, dtype=torch.float64)
    slope = weigh(x.to(dtype), z.to(dtype), padding, instructions)
    assert (
        relative(slope.double(), conv2d_weight(x, kernel.shape, z, padding=padding)) < ERRORS[dtype]
    )


@pytest.mark.parametrize("instructions", ["baseline", "avx2", "avx512"])
@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("turned", [False, True])
def test_packing(turned: bool, dtype: torch.dtype, instructions: str) -> None:
    skip_without(instructions)
    kernel = torch.randn(32, 48, 3, 3, generator=stream(6, "tiles"), dtype=torch.float64)
    ends = torch.tensor(
        [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]
    ).double()
    plain = kernel.transpose(0, 1).flip(-2, -1) if turned else kernel
    wanted = torch.einsum("ku,lv,oiuv->kloi", ends / 24, ends / 24, plain).flatten(0, 1)
    found = pack(kernel.to(dtype), turned, instructions).permute(0, 1, 3, 2).flatten(1, 2)
    assert relative(found.double(), wanted) < ERRORS[dtype]


def test_images_of_zeros() -> None:
    skip_without("baseline")
    packed, offset = pack(torch.ones(16, 32, 3, 3)), torch.rand(2, 16, 8, 8)
    zeros = torch.zeros(2, 32, 8, 8)
    assert not convolve(zeros, packed, 1).any()
    found = convolve_largest(zeros, packed, 1, offset)
    values, corner = Maximum(2)(offset)
    assert torch.equal(found.values, values)
    assert torch.equal(found.corner, corner)
    zeros[1, 5, 7, 7] = 1.0  # the last pixel of one channel
    assert float(convolve(zeros, packed, 1).sum()) == pytest.approx(4 * 16)
    none = torch.zeros(2, 16, 4, 4)
    corners = Pooled(none, none + 1, Pooled(none + 1, none))  # only the corners moved
    square = pack(torch.ones(16, 16, 3, 3))
    assert float(convolve(corners, square, 1).abs().sum()) > 0
    last = none.clone()
    last[1, 0, 3, 3] = 1.0
    assert float(convolve(Pooled(last, none), square, 1).sum()) == pytest.approx(9 * 16)
    kernel = torch.ones(16, 32, 3, 3)
    kernel[3, 2, 1, 0] = torch.nan
    assert bool(convolve(torch.zeros(2, 32, 8, 8), pack(kernel), 1).isnan().any())


def test_types_must_agree() -> None:
    skip_without("baseline")
    image, single = torch.rand(4, 32, 8, 8), Tiled.of(Filter(torch.rand(32, 32, 3, 3), 1, 1))
    for pre, post in ((image.double(), image), (image, image.double())):
        with pytest.raises(RuntimeError):
            single.weigh(pre, post)
    with pytest.raises(RuntimeError):
        single.convolve(image.double())
    with pytest.raises(TypeError):
        weigh(image, image.double(), 1)


def test_both_pulls_of_a_coupling() -> None:
    draws = stream(1, "tiles")
    kernel = torch.randn(64, 32, 3, 3, generator=draws, dtype=torch.float64)
    pre = torch.rand(2, 32, 8, 8, generator=draws, dtype=torch.float64)
    post = torch.rand(2, 64, 4, 4, generator=draws, dtype=torch.float64)
    assert fits(kernel, 1, pre)
    plain = Convolution(Filter(kernel, padding=1), pool=Maximum(2))
    (ours,) = prepare([plain], pre)
    moving = pre.clone().requires_grad_()
    assert not fits(kernel, 1, moving)
    with torch.enable_grad():
        energy = plain.energy([moving, post])
        (slope,) = torch.autograd.grad(energy.sum(), moving)
    torch.testing.assert_close(ours.pull(0, [pre, post]), -slope, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(ours.energy([pre, post]), energy.detach(), rtol=1e-11, atol=1e-11)
    assert isinstance(ours, Convolution)
    assert isinstance(ours.filter, Tiled)
    assert set(vars(ours.filter.packed)) == {"kernel", "ahead", "turned"}  # both were asked for
    (slope,) = torch.autograd.grad(-ours.pull(1, [moving, post]).mul(post).sum(), moving)
    torch.testing.assert_close(ours.pull(0, [pre, post]), -slope, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("shape", [(8, 32, 3, 3), (32, 8, 3, 3), (32, 32, 5, 5), (16, 16, 3, 3)])
def test_what_tiles_do_not_fit_or_do_not_pay(shape: tuple[int, ...]) -> None:
    kernel = torch.zeros(shape)
    assert not fits(kernel, 1, torch.zeros(1, shape[1], 8, 8))


def test_gradient_of_a_network_in_tiles() -> None:
    network = Network(
        (1, 8, 8),
        (Layer((32, 8, 8), Box(0.0, 1.0)), Layer((32, 4, 4), Box(0.0, 1.0)), Layer(4, Free())),
        (Conv(1, 32, 3, padding=1), Conv(32, 32, 3, (1, 2), padding=1, pool=Maximum(2), gain=0.6),
         Dense((32, 4, 4), 4, (2, 3))),
    )  # fmt: skip
    draws = stream(2, "tiles")
    parameters = [[p.double() for p in joint] for joint in network.initial(draws)]
    machine = Simulated.ideal(network, parameters, Sweep(1e-13, 500))
    x = torch.rand(3, 1, 8, 8, generator=draws, dtype=torch.float64)
    settled = machine.settle(x)
    assert "ahead" in vars(settled.problem.couplings[1].filter.packed)  # type: ignore[attr-defined]
    pair = centred(1e-5), Implicit()
    table = compare(machine, x, torch.tensor([0, 1, 2]), SquaredError(), pair)
    assert max(row.relative_error for row in table) < 1e-7


@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("size", [2, 3])
def test_scattering_against_unpooling(size: int, dtype: torch.dtype) -> None:
    z = torch.randn(3, 5, 8, 7, generator=stream(2, "tiles"), dtype=dtype)
    values, corner = Maximum(size)(z)
    _, places = functional.max_pool2d(z, size, return_indices=True)
    wanted = functional.max_unpool2d(values, places, size, output_size=z.shape[-2:])
    for pool in (Maximum(size), Largest(size)):
        assert torch.equal(pool.spread(values, corner, (8, 7)), wanted)
    values.requires_grad_()  # autograd listens: PyTorch's own operations
    listened = Largest(size).spread(values, corner, (8, 7))
    assert torch.equal(listened.detach(), wanted)
    listened.sum().backward()
    assert torch.equal(values.grad, torch.ones_like(values))


@pytest.mark.parametrize("instructions", ["baseline", "avx2", "avx512"])
@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_pooling_on_the_way(padding: int, dtype: torch.dtype, instructions: str) -> None:
    skip_without(instructions)
    draws = stream(3, "tiles")

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draws, dtype=torch.float64)

    x, kernel = drawn(2, 16, 8, 6), drawn(48, 16, 3, 3)
    plain = functional.conv2d(x, kernel, padding=padding)
    offset = 10 * drawn(*plain.shape)
    packed = pack(kernel.to(dtype))
    for added in (None, offset):
        z = plain if added is None else plain + added
        values, corner = Maximum(2)(z)
        cast = None if added is None else added.to(dtype)
        found = convolve_largest(x.to(dtype), packed, padding, cast, instructions)
        assert relative(found.values.double(), values) < ERRORS[dtype]
        assert torch.equal(found.corner.double(), corner)
        assert corner.unique().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("instructions", ["baseline", "avx2", "avx512"])
@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_going_back_to_corners_on_the_way(
    padding: int, dtype: torch.dtype, instructions: str
) -> None:
    skip_without(instructions)
    draws = stream(4, "tiles")
    shape = (2, 48, 4, 3)
    post, at = (torch.randn(shape, generator=draws, dtype=torch.float64) for _ in range(2))
    now, before = (torch.randint(4, shape, generator=draws).double() for _ in range(2))
    kernel = torch.randn(32, 48, 3, 3, generator=draws, dtype=torch.float64)
    packed = pack(kernel.to(dtype))
    pool, image = Maximum(2), (8, 6)
    here = pool.spread(post, now, image)
    moved = here + pool.spread(at, now, image) - pool.spread(at, before, image)
    values, corner, at, before = (part.to(dtype) for part in (post, now, at, before))
    for rest, wide in ((None, here), (Pooled(at, before), moved)):
        pooled = Pooled(values, corner, rest)
        for each in (pool, Largest(2)):
            assert relative(pooled.spread(each, image).double(), wide) < ERRORS[dtype]
        found = convolve(pooled, packed, padding, instructions)
        wanted = functional.conv2d(wide, kernel, padding=padding)
        assert relative(found.double(), wanted) < ERRORS[dtype]


def test_pooled_images_that_do_not_fit_are_refused() -> None:
    packed, ones = pack(torch.zeros(16, 16, 3, 3)), torch.ones(1, 16, 2, 2)
    with pytest.raises(ValueError, match="corners do not fit the images"):
        convolve(Pooled(ones, ones[..., :1]), packed, 1)
    with pytest.raises(ValueError, match="corners do not fit the convolution"):
        convolve_largest(ones, packed, 1, torch.ones(1, 16, 1, 1))
    with pytest.raises(ValueError, match="do not fit one another"):
        Largest(2).spread(ones, ones, (6, 4))


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("pool", [Average(), Average(2), Maximum(2), Maximum(3)], ids=repr)
def test_a_fast_coupling_is_an_equal_of_the_plain_one(pool: Pool, channels: int) -> None:
    """State after state, so that what was remembered of one is not taken for another's."""
    draws = stream(5, "memo")

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draws, dtype=torch.float64)

    plain = Convolution(Filter(drawn(16, channels, 3, 3), padding=1), drawn(16), pool)
    (fast,) = prepare([plain], drawn(2, 1))
    side = 12 // pool.size
    *both, moved, last = ([drawn(2, channels, 12, 12), drawn(2, 16, side, side)] for _ in range(4))
    for at in (*both, both[0]):
        moves = [Move(s, u, v) for s, u, v in zip(at, moved, last, strict=True)]
        clamped = [Move(at[0]), moves[1]]
        pairs = [(c.energy(at), c.pull(0, at), c.pull(1, at), *c.contrast(moves),
                  *c.contrast(clamped)) for c in (fast, plain)]  # fmt: skip
        for found, wanted in zip(*pairs, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)
        for end in (0, 1):
            found, wanted = (c.displaced(at).pull(end, moved) for c in (fast, plain))
            torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)
            away = [s + u for s, u in zip(at, moved, strict=True)]
            change = plain.pull(end, away) - plain.pull(end, at)
            torch.testing.assert_close(wanted, change, rtol=1e-10, atol=1e-10)


def test_a_fast_coupling_forgets_when_it_is_gone() -> None:
    """What it remembers keeps nothing alive: batches would pile up until the garbage collector."""
    image = torch.rand(2, 16, 8, 8)
    (fast,) = prepare([Convolution(Filter(torch.rand(16, 16, 3, 3), 1, 1), pool=Maximum(2))], image)
    fast.pull(1, [image, torch.zeros(2, 16, 4, 4)])
    gone, there = weakref.ref(fast.filter), weakref.ref(image)  # type: ignore[attr-defined]
    gc.disable()
    try:
        del fast, image
        assert gone() is None
        assert there() is None
    finally:
        gc.enable()


def test_no_subclass_is_taken_for_ours() -> None:
    """A subclass may answer anything: it stays as it is."""

    class Doubled(Convolution):
        def pull(self, end: int, states: Sequence[torch.Tensor]) -> torch.Tensor:
            return 2 * super().pull(end, states)

    class Odd(Filter):
        def convolve(self, pre: torch.Tensor) -> torch.Tensor:
            return -super().convolve(pre)

    kernel = torch.rand(16, 16, 3, 3)
    own = [
        Doubled(Filter(kernel)),
        Convolution(Odd(kernel)),
        Amplifier(Doubled(Filter(kernel)), 2.0, 1.0),
    ]
    for before, after in zip(own, prepare(own, torch.rand(1, 16, 8, 8)), strict=True):
        assert after is before
    (wrapped,) = prepare(
        [Amplifier(Convolution(Filter(kernel)), 2.0, 1.0)], torch.rand(1, 16, 8, 8)
    )
    assert type(wrapped.coupling.filter) is Tiled  # type: ignore[attr-defined]
