"""YAML as every door reads it: plain values come in, anything else is one line with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from madem.documents import LARGEST, load_yaml, read, read_yaml
from madem.errors import InputError

REFUSED = {
    "a: &x 1": "line 1: anchors and aliases",
    "a: &x [*x]": "line 1: anchors and aliases",
    "a: 1\nb: *x": "line 2: anchors and aliases",
    "a: !!python/object/apply:os.system [x]": "line 1: tags are not allowed",
    "a: !!int 3": "line 1: tags are not allowed",
    "a: {b: 1, c: 2, b: 3}": "line 1: the key 'b' is there twice",
    "a: 1\n\n'a': 2": "line 3: the key 'a' is there twice",
    "1: a": "line 1: a key must be text, but is 1",
    "[a]: b": "a key must be text",
    "a: 123456789012345678901": "line 1: an integer of over 20 digits",
    "[" * 40 + "]" * 40: "deeper than 32 levels",
    "a: 1\n---\nb: 2": "line 2: a second document begins",
    "a: [1": "not YAML",
    "a: \x07": "not YAML",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_more_than_values_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(InputError) as told:
        load_yaml(text, "example")
    assert str(told.value).startswith("example: ")
    assert REFUSED[text] in str(told.value)
    assert str(told.value).isprintable()


@pytest.mark.parametrize(
    ("text", "value"),
    [("yes", "yes"), ("Off", "Off"), ("1:30", "1:30"), ("010", "010"), ("0x10", "0x10"),
     ("1_000", "1_000"), ("2001-99-99", "2001-99-99"), ("=", "="), ("True", True), ("~", None),
     ("", None), ("1e3", 1000.0), ("-.5", -0.5), ("'3'", "3"), ("12", 12)],
)  # fmt: skip
def test_words_and_numbers_are_those_of_version_1_2(text: str, value: Any) -> None:
    found = load_yaml(text, "example")
    assert found == value
    assert type(found) is type(value)


def test_files_are_read_whole_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes("\ufeffa: é".encode())
    assert read_yaml(file, "config") == {"a": "é"}
    for content, message in ((b"a: \xe9", "not UTF-8 (byte 3)"), (b"[1]", "keys and values"),
                             (b"a" * (LARGEST + 1), "larger than 4 MB")):  # fmt: skip
        file.write_bytes(content)
        with pytest.raises(InputError, match="^config: ") as told:
            read_yaml(file, "config")
        assert message in str(told.value)
    for place, message in ((tmp_path, "is a directory"), (tmp_path / "b", "no such file"),
                           (Path("/dev/zero"), "is not a plain file")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            read(place, "config")
