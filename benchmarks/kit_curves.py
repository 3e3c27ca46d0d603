"""Pulse responses of the analog kit's own presets, for ``devices.py --kit FILE`` to compare with.

Run it with a Python that has the kit (measured: aihwkit 1.1.0 with torch 2.10.0); madem is not
needed there:

    python benchmarks/kit_curves.py kit.json

Every device starts at weight zero and gets ``pulses`` up, then as many down. Written for each
preset: the mean over devices after each ``every`` pulses, its standard error from tile to tile (the
devices of one tile are less independent than their number), the standard deviation over devices,
and the curve of one device without any spread or noise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from aihwkit.simulator.configs import SingleRPUConfig
from aihwkit.simulator.presets import devices
from aihwkit.utils.visualization import compute_pulse_response, get_tile_for_plotting

PRESETS = {
    "hfo2-exponential": (devices.ReRamESPresetDevice, 1000),
    "hfo2-softbounds": (devices.ReRamSBPresetDevice, 1000),
    "array-om": (devices.ReRamArrayOMPresetDevice, 50),
    "array-hfo2": (devices.ReRamArrayHfO2PresetDevice, 20),
}
TILES, DEVICES = 20, 500  # of one tile
SPREADS = ("dw_min_dtod", "up_down_dtod", "w_max_dtod", "w_min_dtod", "reference_std")


def curve(device: Any, pulses: int, count: int, noise_free: bool) -> np.ndarray:
    config = SingleRPUConfig(device=device)
    tile = get_tile_for_plotting(config, count, noise_free=noise_free, w_init=0.0)
    direction = np.repeat([1.0, -1.0], pulses)
    return compute_pulse_response(tile, direction)[:, :, 0]


def main() -> None:
    found = {}
    for name, (kind, pulses) in PRESETS.items():
        every = max(1, pulses // 50)
        device, plain = kind(), kind()
        for each in (device, plain):
            if hasattr(each, "subtract_symmetry_point"):  # a matter of weights, not of one device
                each.subtract_symmetry_point, each.reference_std = False, 0.0
        for spread in SPREADS:
            if hasattr(plain, spread):
                setattr(plain, spread, 0.0)
        many = np.stack([curve(device, pulses, DEVICES, False) for _ in range(TILES)])
        many = many[:, every - 1 :: every]
        found[name] = {
            "pulses": pulses,
            "every": every,
            "devices": TILES * DEVICES,
            "mean": many.mean((0, 2)).round(6).tolist(),
            "mean_error": (many.mean(2).std(0, ddof=1) / TILES**0.5).round(6).tolist(),
            "sd": many.std((0, 2)).round(6).tolist(),
            "plain": curve(plain, pulses, 1, True)[every - 1 :: every, 0].tolist(),
        }
    Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
