"""Odd files and odd arguments for every command."""

from __future__ import annotations

import gzip
import random
import struct
from itertools import product

from madem.documents import dump_yaml
from tests.cli.test_verbs import STUDIES
from tests.fuzz.inputs import Input

FILES = {
    "empty": b"", "binary": bytes(range(256)) * 40, "line": b"a" * 5_000_000, "nul": b"a\x00b\n",
    "utf16": "words: [a, b]".encode("utf-16"), "latin": b"caf\xe9\n", "bom": b"\xef\xbb\xbf",
    "deep": b"[" * 100_000, "commas": b"," * 100_000, "lines": b"\n" * 100_000,
    "zip": b"PK\x03\x04",    "gzip": gzip.compress(b"words: [a, b]"),
    "markup": b"[/bold] [red]\n[/x]\n",
    "json": b'{"experiment": "train", "task": {"kind": "digits", "size": 8}}',
    "json list": b"[1, 2]", "html": b"<script>x</script>",
    "same": b"a: 1\na: 1\n", "tag": b"!!python/object/apply:os.system ['touch PWNED']",
    "bomb": b"a: &a [x]\nb: &b [*a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b, *b, *b]\n",
    "csv": b"conductance_uS,direction,up_uS\n1,2,3\n", "header": b"conductance_uS,up_uS,down_uS\n",
}  # fmt: skip
"""Contents of files that are no config, no preset, no list of words and no measurement."""

PLACES = [
    "none",
    "folder",
    "loop",
    "pipe",
    "zero",
    "full",
    "n" * 300,
    "a/b/c",
    "",
    "\U0001f600",
    "-",
]
"""Names that are no plain file: see ``prepared`` in the test."""

DOORS = {
    "run": ("run", "{f}.yaml"), "words": ("run", "braille", "--words", "{f}"),
    "resume": ("run", "--resume", "{f}"), "report": ("report", "{f}"),
    "gradcheck": ("gradcheck", "{f}"), "export": ("spice", "export", "{f}"),
    "verify": ("spice", "verify", "{f}"), "crossbar": ("show", "crossbar", "{f}"),
    "settling": ("show", "settling", "{f}"), "preset": ("device", "show", "{f}.yaml"),
    "fit": ("device", "fit", "{f}"), "base": ("device", "fit", "t.csv", "--base", "{f}.yaml"),
    "device": ("run", "braille", "--set", "machine.device={f}.yaml"),
    "path": ("run", "train", "--set", "task.kind=idx", "--set", "task.path={f}"),
    "serve": ("detector", "serve", "{f}.yaml"), "replay": ("detector", "replay", "{f}"),
    "recorded": ("detector", "serve", "--set", "file={f}"),
    "labels": ("detector", "labels", "{f}"), "state": ("detector", "state", "{f}"),
}  # fmt: skip
"""Where a file is asked for: one must be refused whatever of the above it is."""


def files(draws: random.Random, count: int) -> list[Input]:
    """Return every odd file at every door."""
    table = ("t.csv", b"conductance_uS,up_uS,down_uS\n1,1,1\n2,1,1\n3,1,1\n")
    found = []
    for line in DOORS.values():
        for name, content in FILES.items():
            shown = tuple(part.format(f=name) for part in line)
            file = next((p for p in shown if name in p), name).split("=")[-1]
            either = name in ("json", "markup", "latin") or (line[1] == "braille")
            found.append(Input(shown, not either, (table, (file, content))))
        for place in PLACES:
            shown = tuple(part.format(f=place) for part in line)
            fine = (place == "folder" and "--words" not in line) or shown[-1] == "file="
            found.append(Input(shown, not fine, (table,)))
    return _some(found, draws, count)


def _some(found: list[Input], draws: random.Random, count: int) -> list[Input]:
    return draws.sample(found, min(count, len(found)))


ODD = [
    "-1",
    "0",
    "1e9",
    "9" * 30,
    "nan",
    "",
    "a b",
    "[/x]",
    "\U0001f600",
    "--",
    "x" * 400,
    "2.5",
    "0x10",
]


def arguments(draws: random.Random, count: int) -> list[Input]:
    """Return commands with odd arguments."""
    small = ("c.yaml", dump_yaml(STUDIES["train"]).encode())
    lines = [
        ("run", "{x}"), ("run", "c.yaml", "--chips", "{x}"), ("run", "c.yaml", "--seed", "{x}"),
        ("run", "c.yaml", "--workers", "{x}"), ("run", "c.yaml", "--set", "{x}"),
        ("run", "c.yaml", "--set", "{x}=1"), ("run", "c.yaml", "--set", "seed={x}"),
        ("run", "c.yaml", "--set", "task.{x}=1"), ("run", "c.yaml", "--set",
        "network.hidden.0={x}"),
        ("run", "c.yaml", "--set", "seed.{x}=1"), ("run", "c.yaml", "--set", "..={x}"),
        ("run", "c.yaml", "--set", "=seed={x}"), ("gradcheck", "c.yaml", "--samples", "{x}"),
        ("gradcheck", "c.yaml", "--network", "{x}"), ("spice", "export", "c.yaml", "--phase",
        "{x}"),
        ("spice", "export", "c.yaml", "--sample", "{x}"), ("spice", "{x}"), ("show", "{x}"),
        ("show", "crossbar", "c.yaml", "--chip", "{x}"), ("device", "{x}"), ("{x}",),
        ("device", "show", "{x}"), ("device", "show", "ideal", "--figure", "{x}"),
        ("device", "fit", "t.csv", "--base", "{x}"), ("report", "{x}"), ("run", "c.yaml", "--{x}"),
        ("run", "--resume", "{x}"), ("run", "braille", "--set", "letters={x}", "--words", "w.txt"),
        ("run", "noise", "--set", "task.letters={x}", "--words", "w.txt"), ("gradcheck", "{x}"),
        ("detector", "{x}"), ("detector", "serve", "--set", "ring={x}"),
        ("detector", "serve", "--set", "source={x}"), ("detector", "serve", "--{x}"),
        ("detector", "replay", "--rate", "{x}"), ("detector", "replay", "--series", "{x}"),
        ("detector", "replay", "--frames", "{x}"), ("detector", "labels", "l.csv", "--to", "{x}"),
        ("detector", "state", ".", "--pin", "{x}"), ("detector", "state", ".", "--export", "{x}"),
    ]  # fmt: skip
    fine = {("--seed", "0"), ("--chips", "0"), ("seed={x}", "0"), ("{x}", "--")}
    found = []
    for line, odd in product(lines, ODD):
        shown = tuple(part.format(x=odd) for part in line)
        either = any((part, odd) in fine for part in line) or (line[-2:][0], odd) in fine
        either |= odd in ("--", "") or (odd == "0" and "--sample" in line) or "--workers" in line
        either |= odd == "0" and line[0] in ("{x}", "device", "spice", "show")
        either |= line[:2] == ("detector", "replay") and (
            (*line[2:3], odd) in (("--rate", "1e9"), ("--rate", "2.5"), ("--series", "0"),
                                   ("--frames", "9" * 30)))  # fmt: skip
        files = (small, ("w.txt", b"ab\ncd\n"), ("t.csv", b"conductance_uS,up_uS,down_uS\n"),
                 ("l.csv", b"series,image,hit\n1-A,1,1\n"))  # fmt: skip
        found.append(Input(shown, not either, files))
    return _some(found, draws, count)


def idx(shape: tuple[int, ...], value: int = 1, kind: int = 8) -> bytes:
    """Return an IDX file of bytes that are zero and ``value`` in turn."""
    size = 1
    for each in shape:
        size *= each
    return (
        bytes([0, 0, kind, len(shape)])
        + struct.pack(f">{len(shape)}I", *shape)
        + bytes(value * (n % 2) for n in range(size))
    )


def images(draws: random.Random, count: int) -> list[Input]:
    """Return folders of IDX files, one of each wrong."""
    fine = {"train-images-idx3-ubyte": (64, 8, 8), "train-labels-idx1-ubyte": (64,),
            "t10k-images-idx3-ubyte": (10, 8, 8), "t10k-labels-idx1-ubyte": (10,)}  # fmt: skip
    line = ("run", "train", "--set", "task.kind=idx", "--set", "task.path=.",
            "--set", "network.hidden=[4]")  # fmt: skip
    whole = tuple((name, idx(shape)) for name, shape in fine.items())
    found = [Input(line, False, whole)]
    for name, shape in fine.items():
        many = (255,) * 3 + shape
        odd = [
            b"", b"\x00" * 8, idx(shape)[:-1], idx(shape) + b"x", idx(shape, kind=9),
            idx(shape)[1:],
            idx((0, *shape[1:])), idx((*shape, 1)), idx(shape[:-1] or (1, 1)), bytes([0, 0, 8,
            255]),
            bytes([0, 0, 8, len(shape)]) + b"\xff" * 4 * len(shape), idx((7, *shape[1:])),
            gzip.compress(idx(shape)), bytes([0, 0, 8, len(many)]) + b"\x00" * 24,
            bytes([0, 0, 8, 255]) + b"\x00\x00\x00\x01" * 255 + b"\x01",
        ]  # fmt: skip
        odd += [idx(shape, value) for value in (10, 200, 255)] if len(shape) == 1 else []
        odd += (
            [idx((shape[0], 9, 8)), idx((shape[0], 8, 0)), idx((shape[0], 64))]
            if len(shape) > 1
            else []
        )
        for content in odd:
            others = tuple((n, c) for n, c in whole if n != name)
            found.append(Input(line, True, (*others, (name, content))))
            zipped = (f"{name}.gz", gzip.compress(content) if content[:1] == b"\x00" else content)
            found.append(Input(line, content[:2] != b"\x1f\x8b", (*others, zipped)))
        found.append(Input(line, True, tuple((n, c) for n, c in whole if n != name)))
        cut = (f"{name}.gz", gzip.compress(idx(shape))[:-9])
        found.append(Input(line, True, (*tuple((n, c) for n, c in whole if n != name), cut)))
    return _some(found, draws, count)
