"""Uncontracted English Braille (Unified English Braille): words as dots.

A cell has six dots, numbered 1-3 down the left and 4-6 down the right; as a bit mask, dot ``d``
is bit ``d - 1``, which is also the offset from U+2800 in Unicode.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from madem.errors import InputError


def _mask(dots: str) -> int:
    return sum(1 << (int(dot) - 1) for dot in dots)


def _letters() -> dict[str, int]:
    """Return the alphabet: a-j, then the same with dot 3, then with dots 3 and 6; w is apart."""
    shapes = ("1", "12", "14", "145", "15", "124", "1245", "125", "24", "245")
    first = [_mask(dots) for dots in shapes]
    table = dict(zip("abcdefghij", first, strict=True))
    table |= {c: m | _mask("3") for c, m in zip("klmnopqrst", first, strict=True)}
    table |= {c: m | _mask("36") for c, m in zip("uvxyz", first, strict=False)}
    return table | {"w": _mask("2456")}


LETTERS = _letters()
DIGITS = {digit: LETTERS[letter] for digit, letter in zip("1234567890", "abcdefghij", strict=True)}
CAPITAL, NUMERIC, GRADE_1 = _mask("6"), _mask("3456"), _mask("56")
PUNCTUATION = {
    sign: tuple(_mask(dots) for dots in cells.split())
    for sign, cells in {
        ",": "2",
        ";": "23",
        ":": "25",
        ".": "256",
        "!": "235",
        "?": "236",
        "'": "3",
        "\N{RIGHT SINGLE QUOTATION MARK}": "3",
        "-": "36",
        '"': "6 2356",
        "\N{LEFT DOUBLE QUOTATION MARK}": "236",
        "\N{RIGHT DOUBLE QUOTATION MARK}": "356",
        "(": "5 126",
        ")": "5 345",
        "/": "456 34",
        "&": "4 12346",
        "@": "4 1",
        "#": "456 1456",
        "%": "46 356",
        "+": "5 235",
        "=": "5 2356",
        "*": "5 35",
    }.items()
}
"""Signs and their cells, from The Rules of Unified English Braille (ICEB, 2013)."""


def cells(word: str) -> tuple[int, ...]:
    """Return the cells of ``word`` as bit masks.

    A capital takes the capital indicator, a run of digits the numeric indicator, and a letter
    a-j straight after digits the grade 1 indicator. Raises ``InputError`` for a character that
    has no cell.

    >>> [bin(cell) for cell in cells("Ab")]
    ['0b100000', '0b1', '0b11']
    """
    found: list[int] = []
    numeric = False
    for position, sign in enumerate(word, 1):
        letter = sign.lower()
        if sign in DIGITS:
            found += [DIGITS[sign]] if numeric else [NUMERIC, DIGITS[sign]]
            numeric = True
            continue
        if letter in LETTERS:
            if sign != letter:
                found.append(CAPITAL)
            elif numeric and letter in "abcdefghij":
                found.append(GRADE_1)
            found.append(LETTERS[letter])
        elif sign in PUNCTUATION:
            found += PUNCTUATION[sign]
        else:
            raise InputError(
                f"{word!r} has {sign!r} (U+{ord(sign):04X}) at position {position}, which has no "
                f"Braille cell here; allowed: letters a-z, digits, {' '.join(PUNCTUATION)}"
            )
        numeric = numeric and sign in ",."
    return tuple(found)


def dots(words: Sequence[str], length: int = 10) -> Float[Tensor, "words dots"]:
    """Return the dots of ``words``, +1 raised and -1 flat, shape ``(len(words), 6 * length)``.

    Shorter words end in empty cells. Raises ``InputError`` for a word of more cells.

    >>> dots(["a"], 1).tolist()
    [[1.0, -1.0, -1.0, -1.0, -1.0, -1.0]]
    """
    rows = []
    for word in words:
        found = cells(word)
        if len(found) > length:
            raise InputError(
                f"{word!r} takes {len(found)} Braille cells, but at most {length} are allowed"
            )
        padded = [*found, *[0] * (length - len(found))]
        rows.append([1.0 if mask >> dot & 1 else -1.0 for mask in padded for dot in range(6)])
    return torch.tensor(rows)


def draw(row: Float[Tensor, " dots"]) -> str:
    """Return ``row`` as Unicode Braille; a dot is raised where it is positive.

    >>> draw(dots(["abc"], 3)[0])
    '\u2801\u2803\u2809'
    """
    raised = (row > 0).reshape(-1, 6).tolist()
    return "".join(chr(0x2800 + sum(1 << d for d, up in enumerate(cell) if up)) for cell in raised)


def read_words(path: Path | None = None, length: int = 10) -> tuple[str, ...]:
    """Return the words of the shipped list, or of the file at ``path``: one a line, # comments.

    Raises ``InputError``, naming file and line, for a file that is missing, empty or not UTF-8,
    a character without a cell, a word of more than ``length`` letters or cells, words that are
    the same in Braille, and fewer than two words.

    >>> len(read_words())
    32
    """
    shipped = files("madem.data").joinpath("words.txt")
    name = "the shipped list" if path is None else str(path)
    try:
        text = (shipped if path is None else path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"--words: {name!r} is not UTF-8 (byte {error.start})") from None
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise InputError(f"--words: {name!r}: {reason}") from None
    seen: dict[tuple[int, ...], tuple[str, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        found = _checked(word, length, f"--words: {name!r} line {number}")
        if found in seen:
            other, first = seen[found]
            raise InputError(
                f"--words: {name!r} line {number}: {word!r} is a duplicate of "
                f"{other!r} on line {first}"
            )
        seen[found] = word, number
    if len(seen) < 2:
        count = "is empty" if not seen else "has one word"
        raise InputError(f"--words: {name!r} {count}; at least two words are needed")
    return tuple(word for word, _ in seen.values())


def _checked(word: str, length: int, where: str) -> tuple[int, ...]:
    """Return the cells of ``word``, or raise ``InputError`` that starts with ``where``."""
    if len(word) > length:
        raise InputError(f"{where}: {word!r} has {len(word)} letters, at most {length} are allowed")
    try:
        found = cells(word)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if len(found) > length:
        raise InputError(
            f"{where}: {word!r} takes {len(found)} Braille cells, at most {length} are allowed"
        )
    return found
