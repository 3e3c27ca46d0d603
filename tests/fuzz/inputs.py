"""Odd inputs for every door, each with what must come of it: ``refuse`` or ``either``.

``refuse``: one line, exit code 2. ``either``: that, or an answer. Nothing else is ever right. What
must be refused is said here by rules of our own, not read from the models that are tried.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from madem.device import presets as shipped
from madem.documents import dump_yaml, load_yaml
from madem.experiments.catalogue import find
from madem.serve.config import ServiceConfig
from tests.cli.test_verbs import ANSWERED, STUDIES

FOREVER = "9" * 5000
NOWHERE = [
    "{}", "{a: 1}", "[[]]", "[[1], [2]]", "!!python/object/apply:os.system [touch PWNED]",
    "!!int abc", "!!float 1", "!!set {a}", "&a [*a]", "*a", FOREVER, "[" * 200, "{" * 50, "[1",
    "2001-99-99", "\U0001f600", "'[/bold]'", "'[red]'", "\u0661", "'\\x1b[31m'", '"\\u202e"',
    "a" * 100_000, "<<: 1", "1:30", "0x10", "0o7", "1_000", "yes", "off", "'3'", "'1e3'", "010",
    "10" * 30, "1e400", "-1e400", ".nan", "-.inf", ".inf", "2026-01-01", "- 1", "? 1", "@x", "%x",
    "`x`", "\x07", "a: b: c",
]  # fmt: skip
"""Values that no key has a use for, whatever it holds."""

NUMBERS = ["-1", "-3", "-0.5", "1e30", "1e300", "9999999999999999999", "true", "[]", "[1]", "''"]
PLENTY = ["0", "1", "2", "3", "7", "100", "1000000", "999999999", "1000000000000", "1e-320"]
QUANTITIES = [
    "1;2 {u}", "{u}", "9**9**9 {u}", "10**400 {u}", "1e400 {u}", "nan {u}", "inf {u}", "0x10 {u}",
    "1_0 {u}", "\u0661 {u}", "1 {u} {u}", "1 {u} * 2", "5", "5 %", "3 bit", "-1 {u}", "1e300 {u}",
    "1e-300 {u}", "1,5 {u}", "1 {u}; 2", "__import__('os')", "1 m", "1 kg {u}", "1 / {u}", "true",
    "[]", "[1 {u}]", "1 degC", "(1) {u}", "+-1 {u}", "1e {u}", ".", "''", "0.0.1",
]  # fmt: skip
"""No quantity; ``{u}`` stands for the right unit."""

MAY_BE_NULL = ("wire", "train", "low", "high", "rates", "units")
"""Keys that hold something in a study here, though they need not."""

SIGNED = ("low", "high")
"""Keys whose numbers may be below zero."""

FINE = ["1{u}", "1 {u}", "0 {u}", " 2 {u} ", "1e-6 {u}", "0.000001 {u}"]
WORDS = [
    "[a, a]", "[a]", "['', x]", "[]", "null", "false", "0", ".nan", "abc", "[[a], [b]]", "[a, 3]",
    "[a, null]", "['a b\\n', c]", "[\U0001f600, a]", "[a, '[/]']",
    "{a: b}", "[true, false]",
]  # fmt: skip


@dataclass(frozen=True)
class Input:
    """A command line, files to make first (by name), and whether it must be refused."""

    line: tuple[str, ...]
    refuse: bool
    files: tuple[tuple[str, bytes], ...] = ()
    about: str = ""


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every key of a config that has no keys below, and what it holds."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, values


def values_for(key: str, held: Any) -> Iterator[tuple[str, bool]]:
    """Yield YAML texts for a key that holds ``held``, and whether each must be refused."""
    if key == "words":
        yield from ((text, True) for text in WORDS)
        return
    if isinstance(held, list):
        inner = held[0] if held else 1.0
        for text, refuse in values_for("", inner):
            if not refuse or (text not in ("[]",) and "\n" not in text and len(text) < 200):
                still = key == "conditions" and text == "none"  # one in which nothing happens
                yield f"[{text}]", refuse and not still
        yield from ((text, True) for text in ("abc", "3", "{a: 1}", "true", "''"))
        yield "null", key not in MAY_BE_NULL
        return
    free = key in ("path", "device", "file", "channel", "labelled", "source")
    whole = held is None  # what holds nothing may be a part, with all its defaults
    fine = {(whole, "{}"), (key == "group", "'3'")}  # the latter: the number of a space group
    yield from ((text, (True, text) not in fine and (not free or text[0] in "&*[{!@%`-?\x07"))
                for text in NOWHERE)  # fmt: skip
    if held is None:
        yield from ((text, False) for text in (*PLENTY, *NUMBERS, "null", "1 ohm", "abc"))
    elif isinstance(held, bool):
        texts = ("0", "1", "no", "on", "null", "1.0", "'true'", "y", "[]", "''", "abc", "truE")
        yield from ((text, True) for text in texts)
        yield from ((text, False) for text in ("true", "false", "True"))
    elif isinstance(held, int | float):
        yield from ((text, key not in SIGNED or text[0] != "-") for text in NUMBERS)
        yield from ((text, True) for text in ("abc", "1 uS"))
        yield "null", key not in MAY_BE_NULL
        yield from ((text, isinstance(held, int) and text == "1e-320") for text in PLENTY)
        yield from ((text, isinstance(held, int)) for text in ("2.5", "0.3", "1e-3", "1.0"))
    elif isinstance(held, dict):
        yield from ((text, True) for text in ("3", "true", "[]", "''", "abc", "{kind: abc}"))
    elif held[:1].isdigit():
        unit = held.split()[-1]
        yield from ((text.format(u=unit), True) for text in QUANTITIES)
        yield "null", key not in MAY_BE_NULL
        yield from ((text.format(u=unit), False) for text in FINE)
    else:
        texts = ("null", "''", "3", "true", "[]", held.upper(), f"{held}x", f"[{held}]", "none")
        yield from ((text, not free or text in ("3", "true", "[]", f"[{held}]")) for text in texts)


def keys(draws: random.Random, count: int) -> list[Input]:
    """Return keys of every config with odd values, as ``--set`` or inside a file."""
    wholes = {study: find(small).model.of(small).model_dump(mode="json")
              for study, small in STUDIES.items()}  # fmt: skip
    wholes["service"] = ServiceConfig().model_dump(mode="json")
    every = [
        (study, path, text.replace("\n", " "), refuse)
        for study, whole in wholes.items()
        for path, held in leaves(whole)
        for text, refuse in values_for(path[-1], held)
        if path != ("experiment",)
    ]
    found = []
    for study, path, text, refuse in draws.sample(every, min(count, len(every))):
        name, verb = f"{study}.yaml", draws.choice(["run"] * 9 + ["gradcheck"])
        if study == "service":
            found.append(_served(draws, wholes[study], path, text, refuse))
            continue
        more = ("--samples", "2") if verb == "gradcheck" else ()
        hidden = verb == "gradcheck" and ("gradcheck", study) not in ANSWERED
        if draws.random() < 0.5:
            line = (verb, name, "--set", f"{'.'.join(path)}={text}", *more)
            content = dump_yaml(STUDIES[study]).encode()
        else:
            line, content = (verb, name, *more), _with(wholes[study], path, text)
        about = f"{'.'.join(path)}: {text[:60]}"
        found.append(Input(line, refuse or hidden, ((name, content),), about))
    return found


def _served(
    draws: random.Random, whole: dict[str, Any], path: tuple[str, ...], text: str, refuse: bool
) -> Input:
    """Return a service with an odd value in its file or on its command line."""
    line: tuple[str, ...] = ("detector", draws.choice(["serve", "serve", "replay"]))
    about = f"{'.'.join(path)}: {text[:60]}"
    if draws.random() < 0.5 or line[1] == "replay":
        line, files = (*line, "--set", f"{'.'.join(path)}={text}"), ()
        return Input(line, refuse, files, about)
    return Input((*line, "s.yaml"), refuse, (("s.yaml", _with(whole, path, text)),), about)


def _with(values: dict[str, Any], path: tuple[str, ...], text: str) -> bytes:
    """Return a config as YAML in which ``text`` stands, as it is, for the key at ``path``."""
    copied = load_yaml(dump_yaml(values), "whole")
    place = copied
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = "PUT IT HERE"
    return dump_yaml(copied).replace("PUT IT HERE", text).encode(errors="surrogatepass")


PRESETS = Path(shipped.__file__).parent / "presets"
NUMBERED = [
    *NOWHERE,
    *NUMBERS,
    "null",
    "abc",
    "1 1 uS",
    "nan",
    "9**9",
    "1 kg",
    "1 furlong",
    "1 uS;",
]
TEXTS = ["null", "''", "{}", "[]", "true", "3", "[a]"]


def presets(draws: random.Random, count: int) -> list[Input]:
    """Return keys of shipped presets with odd values."""
    read = {name: load_yaml((PRESETS / f"{name}.yaml").read_text(), name)
            for name in ("taox-1t1m", "cmo-hfox", "neurram", "milo-2021")}  # fmt: skip
    every = [
        (values, path, text, f"{' '.join(path)} {held}")
        for values in read.values()
        for path, held in leaves(values)
        for text in (NUMBERED if path[-1] == "value" else TEXTS)
    ]
    found = []
    for values, path, text, shown in draws.sample(every, min(count, len(every))):
        # a number without a dimension may be any number, quoted or not
        bare = any(part in shown for part in ("up_down", "jitter", "response", "error linear"))
        loose = bare and text in ("'3'", "'1e3'", "010", "-1", "-3", "-0.5")
        found.append(Input(("device", "show", "p.yaml"), not loose,
                           (("p.yaml", _with(values, path, text)),),
                           f"{shown}: {text[:60]}"))  # fmt: skip
    return found


def documents(draws: random.Random, count: int) -> list[Input]:
    """Return configs with something thrown in at random places."""
    whole = [dump_yaml(values) for values in STUDIES.values()]
    bad = ["chips: 1\nchips: 2\n", "seed: 0\nseed: 0\n", "&x ", "*x\n", "!!map ", "---\n---\n",
    "? ",
           "\x00", "\ufeff\ufeff", "\t", "}", "]", "'", '"', ": ", "- ", "{", "[", "\udc80", "|\n",
           "#", "\r", "\u2028", "1: 2\n", "null: 1\n", "~: 1\n", "chips:\n", "chip:\n",
           "%YAML 9.9\n",
           "<<: {seed: 1}\n", "words: &a [*a]\n", "words: *b\n"]  # fmt: skip
    surely = {"chips: 1\nchips: 2\n", "seed: 0\nseed: 0\n", "1: 2\n", "null: 1\n", "~: 1\n",
              "<<: {seed: 1}\n", "words: &a [*a]\n", "words: *b\n"}  # fmt: skip
    found = []
    for _ in range(count):
        text, thrown = draws.choice(whole), draws.choice(bad)
        at = draws.choice([0, len(text), draws.randrange(len(text))])
        edge = at == 0 or (text[at - 1] == "\n" and text[at:at + 1] not in (" ", "-"))  # fmt: skip
        content = (text[:at] + thrown + text[at:]).encode(errors="surrogatepass")
        found.append(Input(("run", "c.yaml"), edge and thrown in surely, (("c.yaml", content),)))
    return found
