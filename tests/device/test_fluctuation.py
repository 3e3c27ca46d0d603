"""How cells fluctuate in time, against closed forms, integrals and spectra of what is drawn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import constants
from scipy.integrate import quad
from scipy.signal import welch
from scipy.special import sici

from madem.device import names, preset
from madem.device.fluctuation import Bands, OneOverF, TwoLevel, noise_floor
from madem.errors import InputError
from madem.randomness import stream

FLICKER = OneOverF(1.0, 1e8).bands
KINDS = {"flicker": OneOverF(10.0, 1e4).bands, "telegraph": TwoLevel(300.0).bands}


def test_the_floor_is_thermal_and_shot_noise_over_the_bandwidth_of_a_pole() -> None:
    g, volts, tau, band = 50e-6, 0.2, 1e-9, 250e6
    thermal = math.sqrt(4 * constants.k * 300 * g * band) / volts
    shot = math.sqrt(2 * constants.e * g * volts * band) / volts
    assert 1e6 * thermal == pytest.approx(0.072, abs=5e-4)
    assert noise_floor(g, volts, tau) == pytest.approx(math.hypot(thermal, shot), rel=1e-9)
    response = quad(lambda x: 1 / (1 + x**2), 0, math.inf)[0] / (2 * math.pi * tau)
    assert response == pytest.approx(band, rel=1e-6)


def test_one_over_f_is_a_sum_of_bands() -> None:
    """Within 0.1 % in the middle; towards an end within 1.2 % of a band that ends there."""
    wide = math.log(1e8)
    for f in np.geomspace(1e3, 1e5, 41):
        assert FLICKER.density(f) * f * wide == pytest.approx(1, abs=1.5e-3)
    for f in np.geomspace(1.0, 1e3, 31):
        rolled = 2 / math.pi * math.atan(f)  # the integral over all corners above 1 Hz
        assert FLICKER.density(f) * f * wide == pytest.approx(rolled, abs=0.012)
    assert FLICKER.correlation(0) == pytest.approx(1)
    within = quad(lambda log: FLICKER.density(math.exp(log)) * math.exp(log), *np.log([1e3, 1e5]))
    assert within[0] == pytest.approx(0.25, rel=2e-3)  # two decades of eight


def test_telegraph_noise_falls_by_the_square_above_its_corner() -> None:
    two = TwoLevel(1e3).bands
    tau = 1 / (2 * math.pi * 1e3)
    for f in (1.0, 1e3, 1e6):
        assert two.density(f) == pytest.approx(4 * tau / (1 + (f / 1e3) ** 2))


@pytest.mark.parametrize("kind", KINDS)
def test_the_correlation_is_the_transform_of_the_density(kind: str) -> None:
    bands = KINDS[kind]
    assert bands.correlation(0.0) == pytest.approx(1)
    for lag in (1e-5, 1e-4, 1e-3):
        found = quad(bands.density, 0, math.inf, weight="cos", wvar=2 * math.pi * lag, limlst=400)[
            0
        ]
        assert bands.correlation(lag) == pytest.approx(found, abs=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pole_averages_what_is_faster(kind: str) -> None:
    bands, tau = KINDS[kind], 2e-5

    def behind(log: float) -> float:
        f = math.exp(log)
        return f * bands.density(f) / (1 + (2 * math.pi * f * tau) ** 2)

    found = quad(behind, math.log(1e-6), math.log(1e9), limit=400)[0]
    assert bands.seen(tau).correlation(0) == pytest.approx(found, rel=1e-5)


def series(bands: Bands, step: float, count: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Pairs of cells seen every ``step``, s, ``(count, *shape)``."""
    draws = stream(0, "series")
    state, found = bands.begin(shape, draws), []
    for _ in range(count):
        found.append(bands.value(state))
        state = bands.after(state, torch.tensor(step, dtype=torch.float64), draws)
    return torch.stack(found)


def sampled(bands: Bands, step: float, hertz: np.ndarray) -> np.ndarray:
    """The density of a process seen every ``step``, s: what is faster is folded back."""
    total = np.zeros_like(hertz)
    for tau, share in zip(bands.times, bands.shares, strict=True):
        kept = math.exp(-step / tau)
        turn = 1 + kept**2 - 2 * kept * np.cos(2 * math.pi * hertz * step)
        total += 2 * step * share * (1 - kept**2) / turn
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_has_the_spectrum(kind: str) -> None:
    bands, step, pairs = KINDS[kind], 2e-5, (8, 16)
    drawn = series(bands, step, 8192, pairs).flatten(1).double().numpy()
    length = 1024
    hertz, found = welch(drawn, 1 / step, nperseg=length, axis=0, detrend=False)
    theory = sampled(bands, step, hertz)
    ratio = (found.mean(1) / theory)[3:-1]  # the window leaks from the lowest
    error = 1 / math.sqrt(128 * 2 * 8192 / length * 0.75)  # halves overlap: Welch's own variance
    assert np.abs(ratio - 1).max() < 4.5 * error
    assert abs(ratio.mean() - 1) < 5e-3
    below = hertz[3:] < 2500  # a tenth of the Nyquist frequency: nothing folded back to speak of
    wanted = np.array([bands.density(f) for f in hertz[3:][below]])
    assert np.abs(found.mean(1)[3:][below] / wanted - 1).max() < 4.5 * error + 0.03
    assert drawn.std() == pytest.approx(1, abs=0.03)


def test_a_trap_has_two_levels_and_keeps_each_as_long_as_it_should() -> None:
    bands, step = TwoLevel(100.0).bands, torch.tensor(1e-5, dtype=torch.float64)
    draws = stream(0, "trap")
    state, flips = bands.begin((40, 50), draws), 0.0
    for _ in range(400):
        after = bands.after(state, step, draws)
        flips += float((after != state).double().mean())
        state = after
    assert set(state.unique().tolist()) == {-1.0, 1.0}
    stays = 2 / (2 * math.pi * 100)  # twice the correlation time
    assert 400 * 1e-5 / flips == pytest.approx(stays, rel=0.02)


def test_a_trap_seldom_flips_in_a_time_that_is_short_to_it() -> None:
    """One in 4e8 is far below the step of a single precision number drawn from 0 to 1."""
    bands, draws = TwoLevel(1.0 / (2 * math.pi)).bands, stream(0, "seldom")
    state, flips = bands.begin((1000, 1000), draws), 0
    for _ in range(10):
        after = bands.after(state, torch.tensor(5e-9, dtype=torch.float64), draws)
        flips += int((after != state).sum())
    assert flips <= 3  # 0.05 are expected


def test_chips_move_on_by_times_of_their_own() -> None:
    bands, draws = OneOverF(1.0, 1e3).bands, stream(0, "chips")
    state = bands.begin((3, 100, 100), draws)
    after = bands.after(state, torch.tensor([0.0, 1e-2, 1e3], dtype=torch.float64), draws)
    first, then = bands.value(state), bands.value(after)
    assert torch.equal(first[0], then[0])
    kept = (first * then).mean((-1, -2)) / first.square().mean((-1, -2))
    assert float(kept[1]) == pytest.approx(bands.correlation(1e-2), abs=0.03)
    assert float(kept[2]) == pytest.approx(0, abs=0.03)


def test_bands_are_split_by_their_times() -> None:
    slow, fast = FLICKER.split(1e-5)
    assert min(slow.times) > 1e-5 >= max(fast.times)
    assert slow.correlation(0) + fast.correlation(0) == pytest.approx(1)
    both = slow.correlation(1e-6) + fast.correlation(1e-6)
    assert both == pytest.approx(FLICKER.correlation(1e-6))


def test_every_preset_says_how_it_fluctuates_and_who_says_so() -> None:
    for name in names():
        entries = preset(name).entries
        assert entries["spectrum"]["source"]
        stated = {key: entry for key, entry in entries.items() if key.startswith("spectrum.")}
        assert bool(stated) == (entries["spectrum"]["value"] != "white")
        assert all("Hz" in entry["value"] for entry in stated.values())
    assert preset("cmo-hfox").spectrum == OneOverF(1.0, 5e5)


BAD = {
    "no unit": ('low: {value: "10", source: x}', "spectrum.low: '10' needs a unit .* '10 Hz'"),
    "a time": ("low: {value: 10 ns, source: x}", "spectrum.low: '10 ns' needs a unit"),
    "below zero": ("low: {value: -1 Hz, source: x}", "spectrum: low must be positive, but is -1"),
    "an empty band": ("low: {value: 2 MHz, source: x}", r"low must be below high, 1e\+06 Hz"),
    "missing": ("", "spectrum.low has no value"),
    "a dwell time": ("dwell: {value: 1 ms, source: x}", "unknown key 'dwell'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_bands_are_refused_in_a_line(case: str, tmp_path: Path) -> None:
    given, message = BAD[case]
    shipped = Path(preset.__code__.co_filename).parent / "presets" / "ideal.yaml"
    text = shipped.read_text().replace(
        'spectrum: {form: white, source: "ideal"}',
        "spectrum:\n    form: flicker\n    source: x\n    high: {value: 1 MHz, source: x}\n    "
        + given,
    )
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as told:
        preset(str(tmp_path / "mine.yaml"))
    assert len(str(told.value)) < 300 + len(str(tmp_path))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("time", [1e-3, 0.3, 1.0, 1.7, 40.0])
def test_what_has_arrived_by_the_ends_of_two_phases_is_their_double_integral(time: float) -> None:
    """Of ``exp(-p - q)`` and the correlation of what came ``p`` and ``q`` before the two ends."""
    bands, (first, second) = Bands((time,), (0.7,)), (2.0, 0.5)

    def seen(lag: float, ends: tuple[float, float]) -> float:
        def inner(q: float) -> float:
            at = [p for p in (q - lag,) if 0 < p < ends[0]] or None
            return quad(
                lambda p: math.exp(-p - q) * bands.correlation(lag + p - q), 0, ends[0], points=at
            )[0]

        whole = quad(inner, 0, ends[1], epsabs=1e-10)[0]
        return whole / (-math.expm1(-ends[0]) * -math.expm1(-ends[1]))

    for lag, ends in ((0.0, (first, first)), (0.0, (second, second)), (0.8, (first, second))):
        found = seen(lag, ends)
        assert bands.arrived(lag, ends) == pytest.approx(found, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(
    ("high", "off"), [(1e8, 0.030), (5e5, 0.043), (1e4, 0.061), (100.0, 0.123), (10.0, 0.278)]
)
def test_correlations_are_as_far_from_those_of_sharp_ends_as_stated(
    high: float, off: float
) -> None:
    lags = np.geomspace(0.01 / high, 1, 400)
    turns = 2 * math.pi * lags
    sharp = (sici(high * turns)[1] - sici(turns)[1]) / math.log(high)
    bands = [OneOverF(1.0, high).bands.correlation(lag) for lag in lags]
    assert np.abs(bands - sharp).max() == pytest.approx(off, abs=6e-4)
