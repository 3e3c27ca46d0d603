"""The detector's service: latency and rate of one worker, and a run at a steady rate.

python benchmarks/serve.py             one process: milliseconds a frame, frames a second
python benchmarks/serve.py --rate 100 --seconds 600
                                       a whole service: what is lost, and when verdicts come
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from threading import Event, Thread

import cbor2
import numpy as np
import torch
import zmq

from madem.beam.sources import Frame
from madem.beam.sources.messages import edge_of, message_of
from madem.serve.config import ServiceConfig
from madem.serve.record import Record
from madem.serve.replay import replay
from madem.serve.service import prepare, serve
from madem.serve.sockets import joined
from madem.serve.worker import Worker


def pictures(config: ServiceConfig, count: int) -> list[Frame]:
    source = config.detector.source("all", config.detector.seed)
    return [frame for first in range(0, count, 25) for frame in source.part(first)]


def alone(config: ServiceConfig, folder: Path, frames: list[Frame]) -> None:
    """One process, no sockets: message to verdict in the record, one at a time and in blocks."""
    worker = Worker(config, folder)
    worker.judged([edge_of("start", "1-B")], "b", [(0, time.monotonic())])
    number = 0
    for together, calls in ((1, 1500), (config.together, 80)):
        waits, busy = [], []
        for _ in range(calls):
            shown = [frames[(number + i) % len(frames)] for i in range(together)]
            messages = [
                message_of(Frame("1-B", number + i, 0.01 * number, f.image))
                for i, f in enumerate(shown)
            ]
            began, used = time.perf_counter(), time.process_time()
            now = time.monotonic()
            lines = worker.judged(messages, "b", [(number + i, now) for i in range(together)])
            worker.remember(lines)
            worker.recorded([(place, line) for place, line, _ in lines])
            waits.append(time.perf_counter() - began)
            busy.append(time.process_time() - used)
            number += together
        wall, cpu = 1e3 * np.array(waits), 1e3 * np.array(busy)
        print(
            f"{together:3d} at once: p50 {np.median(wall):.1f} ms, "
            f"p99 {np.quantile(wall, 0.99):.1f} ms "
            f"(CPU: {np.median(cpu):.1f}, {np.quantile(cpu, 0.99):.1f}); "
            f"{together * calls / wall.sum() * 1e3:.0f} frames/s "
            f"(CPU: {together * calls / cpu.sum() * 1e3:.0f})"
        )


def whole(config: ServiceConfig, folder: Path, frames: list[Frame], rate: float, s: float) -> None:
    """A whole service at a steady rate; times are from sending a frame to hearing its verdict."""
    ended, gone, came = Event(), dict[int, float](), dict[int, float]()

    def hear() -> None:
        with zmq.Context() as context:
            socket = joined(context, "PULL", config.address("verdicts"))
            while not ended.is_set():
                if socket.poll(200):
                    came[cbor2.loads(socket.recv())["image"]] = time.monotonic()
            socket.close()

    parts = [Thread(target=serve, args=(config, folder, ended, lambda: None)), Thread(target=hear)]
    for part in parts:
        part.start()
    file = folder / "status/worker.json"
    began = time.time()
    while not file.exists() or json.loads(file.read_text())["at"] < began:
        time.sleep(0.1)
    count = round(rate * s)
    source = (frames[i % len(frames)] for i in range(count))
    sent = replay(list(source), "9-BENCH", config.source, rate,
                  tell=lambda many: gone.update({many - 1: time.monotonic()}))  # fmt: skip
    time.sleep(5)
    seen, why = 0, Counter[str]()
    for line in Record(folder / "verdicts").lines("9-BENCH"):
        seen += len(line["verdicts"])
        why.update({gap["why"]: gap["count"] for gap in line["gaps"]})
    waits = 1e3 * np.array([came[number] - gone[number] for number in came])
    print(f"{sent.frames} frames at {rate:g} Hz: {seen} verdicts, {sum(why.values())} lost "
          f"{dict(why)}; {len(came)} verdicts came, after {np.median(waits):.1f} ms in the median, "
          f"{np.quantile(waits, 0.99):.1f} at the 99th percentile, {waits.max():.0f} at most; "
          f"{np.mean(waits > 10):.2%} after more than 10 ms")  # fmt: skip
    ended.set()
    for part in parts:
        part.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seconds", type=float, default=600.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    own = ServiceConfig()
    with tempfile.TemporaryDirectory() as place:
        prepare(own, Path(place))
        shown = pictures(own, 500)
        if given.rate is None:
            alone(own, Path(place), shown)
        else:
            whole(own, Path(place), shown, given.rate, given.seconds)
