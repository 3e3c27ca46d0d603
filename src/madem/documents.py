"""Files that people give: read whole and within bounds, or refused in one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from madem.errors import InputError, abridged, nearest, shown

LARGEST = 4_000_000
"""Bytes of the largest text that is read."""

DEEPEST = 32
"""Levels of the deepest YAML that is read."""

Events = Iterator[yaml.Event]

WORDS: dict[str, Any] = {
    spelled: value
    for text, value in {
        "": None, "~": None, "null": None, "true": True, "false": False,
        ".nan": float("nan"), ".inf": float("inf"), "+.inf": float("inf"), "-.inf": -float("inf"),
    }.items()
    for spelled in (text, text.title(), text.upper(), text.replace("nan", "NaN"))
}  # fmt: skip
"""What the core schema of YAML 1.2 knows by name."""

INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def read(path: Path, where: str, most: int = LARGEST) -> bytes:
    """Return the bytes of a plain file, or raise ``InputError``, which begins with ``where``.

    Pipes and devices are no plain files; ``most``: bytes that it may have.
    """
    try:
        if not path.is_file():
            what = "is a directory" if path.is_dir() else (
                "is not a plain file" if path.exists() else "no such file")  # fmt: skip
            raise InputError(f"{where}: {abridged(path)}: {what}")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise InputError(f"{where}: {abridged(path)}: {reason}") from None
    if len(content) > most:
        raise InputError(f"{where}: {abridged(path)}: larger than {most / 1e6:g} MB")
    return content


def read_yaml(path: Path, where: str) -> dict[str, Any]:
    """Return the keys and values of the YAML file ``path``, or raise ``InputError``."""
    return load_keys(read(path, where), f"{where}: {abridged(path)}")


def load_keys(content: bytes | str, where: str) -> dict[str, Any]:
    """Return the keys and values that YAML holds, or raise ``InputError``."""
    held = load_yaml(content, where)
    if not isinstance(held, dict):
        raise InputError(f"{where} is not YAML of keys and values")
    return held


def refuse_unknown(held: Iterable[str], allowed: Iterable[str], where: str) -> None:
    """Raise ``InputError``, which begins with ``where``, for a key that is not ``allowed``."""
    for key in held:
        if key not in allowed:
            raise InputError(f"{where}: unknown key {shown(key)}: {nearest(key, allowed)}")


def load_yaml(content: bytes | str, where: str) -> Any:
    r"""Return what YAML holds: keys, lists, text, numbers, true, false and null, by YAML 1.2.

    So ``yes``, ``1:30``, ``010``, ``1_000`` and dates are text. Raises ``InputError``, which begins
    with ``where`` and names the line, for anything that is not plain: tags, anchors, a key that is
    there twice or that is no text, integers of over 20 digits, several documents, depth.

    >>> load_yaml("{a: 1e-3, b: yes, c: [010, null]}", "example")
    {'a': 0.001, 'b': 'yes', 'c': ['010', None]}
    >>> load_yaml("a: 1\na: 2", "example")
    Traceback (most recent call last):
    ...
    madem.errors.InputError: example: line 2: the key 'a' is there twice
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return _document(yaml.parse(text, Loader=loader))
    except UnicodeError as error:
        place = f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""
        raise InputError(f"{where}: not UTF-8{place}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "a character that YAML has not"
        raise InputError(f"{where}: {line}not YAML: {problem}") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


class _Dumper(yaml.SafeDumper):
    """Quotes what this module would read as a number, and writes no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        """Write everything out."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Write text in quotes and escapes where any of it could be taken for layout."""
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))


def dump_yaml(values: Any) -> str:
    """Return ``values`` as YAML that ``load_yaml`` reads back as they are.

    >>> load_yaml(dump_yaml(["1e3", "yes", 1e-20]), "example")
    ['1e3', 'yes', 1e-20]
    """
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _document(events: Events) -> Any:
    """Return the one document, None where there is none."""
    next(events)  # the start of the stream
    if isinstance(next(events), yaml.StreamEndEvent):
        return None
    value = _value(next(events), events, 0)
    next(events)  # the end of the document
    after = next(events)
    if not isinstance(after, yaml.StreamEndEvent):
        raise _refused(after, "a second document begins")
    return value


def _value(event: yaml.Event, events: Events, depth: int) -> Any:
    """Return the value that begins with ``event``."""
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise _refused(event, "anchors and aliases (& and *) are not allowed; quote the text")
    if (tag := getattr(event, "tag", None)) is not None:
        raise _refused(event, f"tags are not allowed, but there is {shown(tag)}")
    if depth > DEEPEST:
        raise _refused(event, f"deeper than {DEEPEST} levels")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event)
    if isinstance(event, yaml.SequenceStartEvent):
        each = _until(events, yaml.SequenceEndEvent)
        return [_value(one, events, depth + 1) for one in each]
    held: dict[str, Any] = {}
    for one in _until(events, yaml.MappingEndEvent):
        key = _value(one, events, depth + 1)
        if not isinstance(key, str):
            raise _refused(one, f"a key must be text, but is {shown(key)}")
        if key in held:
            raise _refused(one, f"the key {shown(key)} is there twice")
        held[key] = _value(next(events), events, depth + 1)
    return held


def _until(events: Events, end: type[yaml.Event]) -> Events:
    """Yield events up to ``end``; what takes one may take the rest of its value as well."""
    while not isinstance(event := next(events), end):
        yield event


def _scalar(event: yaml.ScalarEvent) -> Any:
    """Return a scalar by the core schema of YAML 1.2, without its octal and hexadecimal numbers."""
    text: str = event.value
    if not event.implicit[0]:  # quoted
        return text
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        if len(text) > 20:
            raise _refused(event, f"an integer of over 20 digits: {shown(text)}")
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else text


def _refused(event: yaml.Event, reason: str) -> InputError:
    line = "" if event.start_mark is None else f"line {event.start_mark.line + 1}: "
    return InputError(line + reason)
