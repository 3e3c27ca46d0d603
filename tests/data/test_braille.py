"""Braille against liblouis, and what becomes of words that have no cells."""

from __future__ import annotations

import shutil
import string
import subprocess
from pathlib import Path

import pytest
import torch

from madem.data.braille import PUNCTUATION, cells, dots, draw, read_words
from madem.errors import InputError

FACTS = {  # The Rules of Unified English Braille (ICEB, 2013)
    "cab": "⠉⠁⠃",
    "jazz": "⠚⠁⠵⠵",
    "wax": "⠺⠁⠭",
    "quite": "⠟⠥⠊⠞⠑",
    "Ohm": "⠠⠕⠓⠍",
    "1990": "⠼⠁⠊⠊⠚",
    "2b": "⠼⠃⠰⠃",
    "3m": "⠼⠉⠍",
    "3.5": "⠼⠉⠲⠑",
    "it's": "⠊⠞⠄⠎",
    "x-y": "⠭⠤⠽",
    "why?": "⠺⠓⠽⠦",
    "(a)": "⠐⠣⠁⠐⠜",
    "a/b": "⠁⠸⠌⠃",
    "IBM": "⠠⠠⠊⠃⠍",
    "TVs": "⠠⠠⠞⠧⠠⠄⠎",
    "X-RAY": "⠠⠭⠤⠠⠠⠗⠁⠽",
    "A1": "⠠⠁⠼⠁",
    "naïve": "⠝⠁⠘⠒⠊⠧⠑",
}


def as_unicode(word: str) -> str:
    return "".join(chr(0x2800 + cell) for cell in cells(word))


@pytest.mark.parametrize("word", FACTS)
def test_known_words(word: str) -> None:
    assert as_unicode(word) == FACTS[word]


@pytest.mark.skipif(not shutil.which("lou_translate"), reason="needs Debian's liblouis-bin")
def test_liblouis_agrees() -> None:
    words = [*string.ascii_lowercase, *read_words(), "1", "1990", "2b", "3m", "4j5", "Ohm", "aB"]
    words += ["IBM", "TVs", "McDONALD", "XXIInd", "ABC-DEF", "O'NEIL", "AB", "aBC", "ABcD", "3A"]
    words += ["AB12CD", "3AB", "1ST", "1st", "AB.", "A'B", "A-B", "AB'C", "école", "É", "ÉCOLE"]
    words += ["École", "naïve", "garçon", "Ångström", "señor", "tête", "à", "šíř", "ø", "Łódź", "ğ"]
    words += ["æon", "œuvre", "2é", "ÀB", "Ç"]
    # contracted Braille would read these signs as letter groups inside a word, so there a grade 1
    # indicator comes before them; they are compared where they stand, at the end
    ends = ",;:.!?"
    words += [f"ab{sign}" if sign in ends else f"a{sign}b" for sign in PUNCTUATION if sign != '"']
    words = [word for word in words if not set(word) & set("“”")] + ["3.5", "1,000"]
    table = "unicode.dis,en-ueb-g1.ctb"
    done = subprocess.run(
        ["lou_translate", table], input="\n".join(words), text=True, capture_output=True, check=True
    )
    theirs = dict(zip(words, done.stdout.splitlines(), strict=True))
    assert {word: as_unicode(word) for word in words} == theirs


def test_dots_and_back() -> None:
    assert draw(dots(["madem"], 10)[0]) == as_unicode("madem") + "⠀" * 5


def test_shipped_words_are_far_apart() -> None:
    codes = dots(read_words())
    assert codes.shape == (32, 60)
    apart = (60 - codes @ codes.mT) / 2
    assert float(apart[~torch.eye(32, dtype=torch.bool)].min()) >= 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# nothing\n\n", "is empty"),
        (b"one\n", "has one word"),
        (b"one\ntwo\none\n", r"line 3: 'one' is a duplicate of 'one' \(line 1\)"),
        (b"\xff\xfe\n", "is not UTF-8"),
        (b"one\nhaphazardly\n", "line 2: 'haphazardly' has 11 letters, at most 10 are allowed"),
        (b"one\n123456789a\n", "line 2: '123456789a' takes 12 Braille cells"),
        ("one\nstraße\n".encode(), r"line 2: 'straße' has 'ß' \(U\+00DF\) at position 5"),
        ("one\nạb\n".encode(), r"has 'ạ' \(U\+1EA1\) at position 1, which has no Braille cell"),
        ("one\nǖb\n".encode(), r"has 'ǖ' \(U\+01D6\) at position 1, which has no Braille cell"),
        ("naïve\nnai\u0308ve\n".encode(), "is a duplicate"),
        (b"word,freq\ncat,10\ndog,7\n", "looks like a table: 3 of 3 lines have a ','"),
        (b"cat;10\ndog;7\n# end\nox\n", "looks like a table: 2 of 3 lines have a ';'"),
        (b"cat\t10\ndog\t7\n", "looks like a table"),
        (b"one\ntwo words\n", "has no Braille cell"),
    ],
)
def test_bad_word_files(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_words(file)


def test_missing_words_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_words(tmp_path / "none.txt")
    with pytest.raises(InputError, match="is a directory"):
        read_words(tmp_path)


def test_windows_files_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes(b"\xef\xbb\xbf# two words\r\none  \r\n\r\ntwo\r\n")
    assert read_words(file) == ("one", "two")


def test_numbers_with_commas_are_words(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("1,000\n2,000\n")
    assert read_words(file) == ("1,000", "2,000")


def test_accents_are_composed(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("nai\u0308ve\ncafe\n")
    assert read_words(file) == ("naïve", "cafe")
    assert cells("nai\u0308ve") == cells("naïve")
