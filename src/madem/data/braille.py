"""Uncontracted English Braille (Unified English Braille): words as dots.

A cell has six dots, numbered 1-3 down the left and 4-6 down the right; as a bit mask, dot ``d``
is bit ``d - 1``, which is also the offset from U+2800 in Unicode.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from madem.documents import read
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
CAPITAL_WORD, CAPITALS_END = (CAPITAL, CAPITAL), (CAPITAL, _mask("3"))
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


MODIFIERS = {
    unicodedata.lookup(f"COMBINING {name}"): tuple(_mask(dots) for dots in cells.split())
    for name, cells in {
        "ACUTE ACCENT": "45 34",
        "GRAVE ACCENT": "45 16",
        "CIRCUMFLEX ACCENT": "45 146",
        "TILDE": "45 12456",
        "DIAERESIS": "45 25",
        "RING ABOVE": "45 1246",
        "CEDILLA": "45 12346",
        "CARON": "45 346",
        "BREVE": "4 346",
        "MACRON": "4 36",
        "LONG SOLIDUS OVERLAY": "4 16",
        "GRAPHEME JOINER": "45 235",  # stands here for the ligature before the second letter
    }.items()
}
"""What stands before a letter with an accent (Rules of Unified English Braille, section 4.2)."""

SPELLED = {
    "\N{LATIN SMALL LETTER O WITH STROKE}": "o\u0338",
    "\N{LATIN CAPITAL LETTER O WITH STROKE}": "O\u0338",
    "\N{LATIN SMALL LETTER L WITH STROKE}": "l\u0338",
    "\N{LATIN CAPITAL LETTER L WITH STROKE}": "L\u0338",
    "\N{LATIN SMALL LETTER AE}": "ae\u034f",
    "\N{LATIN SMALL LIGATURE OE}": "oe\u034f",
}
"""Letters that Unicode does not take apart into a letter and an accent."""


def cells(word: str) -> tuple[int, ...]:
    """Return the cells of ``word`` as bit masks.

    One capital takes the capital letter indicator; two or more in a row take the capitals word
    indicator, and its terminator before a small letter that follows. A run of digits takes the
    numeric indicator, and a letter a-j straight after digits the grade 1 indicator. An accent
    becomes the modifier before its letter, however Unicode composes the two. Raises
    ``InputError`` for a character that has no cell.

    >>> [bin(cell) for cell in cells("Ab")]
    ['0b100000', '0b1', '0b11']
    >>> draw(dots(["TVs", "caf\u00e9"], 7)[0]), len(cells("caf\u00e9"))
    ('\u2820\u2820\u281e\u2827\u2820\u2804\u280e', 6)
    """
    found: list[int] = []
    signs = _signs(word)
    numeric = capitals = False
    for place, whole in enumerate(signs):
        sign, accents = whole[0], whole[1:]
        letter = sign.lower()
        is_capital = letter in LETTERS and sign != letter
        if capitals and letter in LETTERS and not is_capital:
            found += CAPITALS_END
        if is_capital and not capitals:
            capitals = place + 1 < len(signs) and "A" <= signs[place + 1][0] <= "Z"
            found += CAPITAL_WORD if capitals else [CAPITAL]
        capitals = capitals and is_capital
        if sign in DIGITS and not accents:
            found += [DIGITS[sign]] if numeric else [NUMERIC, DIGITS[sign]]
        elif letter in LETTERS and len(accents) <= 1 and set(accents) <= set(MODIFIERS):
            if numeric and not is_capital and not accents and letter in "abcdefghij":
                found.append(GRADE_1)
            found += [*(MODIFIERS[accents[0]] if accents else ()), LETTERS[letter]]
        elif sign in PUNCTUATION and not accents:
            found += PUNCTUATION[sign]
        else:
            raise InputError(_no_cell(word, place, whole))
        numeric = sign in DIGITS or (numeric and sign in ",.")
    return tuple(found)


def _signs(word: str) -> list[str]:
    """Return the signs of ``word``, each followed by its accents."""
    spelled = "".join(SPELLED.get(sign, sign) for sign in unicodedata.normalize("NFC", word))
    signs: list[str] = []
    for part in unicodedata.normalize("NFD", spelled):
        joins = unicodedata.combining(part) or part == "\u034f"
        if signs and joins:
            signs[-1] += part
        else:
            signs.append(part)
    return signs


def _no_cell(word: str, place: int, sign: str) -> str:
    shown = unicodedata.normalize("NFC", sign)
    code = " ".join(f"U+{ord(part):04X}" for part in shown)
    return (
        f"{word!r} has {shown!r} ({code}) at position {place + 1}, which has no Braille cell "
        f"here; allowed: letters a-z, common accents, digits, {' '.join(PUNCTUATION)}"
    )


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
    """Return the words of the shipped list, or of the file at ``path``: one per line, # comments.

    Raises ``InputError``, naming file and line, for a file that is missing, empty or not UTF-8,
    that looks like a table, and for what ``checked_words`` refuses.

    >>> len(read_words())
    32
    """
    if path is None:
        shipped = files("madem.data").joinpath("words.txt")
        name, content = "the shipped list", shipped.read_bytes()
    else:
        name, content = str(path), read(path, "--words")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"--words: {name!r} is not UTF-8 (byte {error.start})") from None
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    words = {number: word for number, word in lines if word and not word.startswith("#")}
    _refuse_table(list(words.values()), f"--words: {name!r}")
    places = {number: f"line {number}" for number in words}
    return checked_words(list(words.values()), length, f"--words: {name!r}", list(places.values()))


def checked_words(
    words: Sequence[str], length: int, where: str, places: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return ``words``, each with its accents composed, once they can be told apart in Braille.

    ``places`` says where each word stands, by default its number. Raises ``InputError`` that
    starts with ``where`` for a character without a cell, a word of more than ``length`` letters
    or cells, words that are the same in Braille, and fewer than two words.

    >>> checked_words(["one", "One"], 10, "words")
    ('one', 'One')
    >>> checked_words(["one", "one"], 10, "words")
    Traceback (most recent call last):
    ...
    madem.errors.InputError: words word 2: 'one' is a duplicate of 'one' (word 1)
    """
    places = places or [f"word {number}" for number in range(1, len(words) + 1)]
    seen: dict[tuple[int, ...], tuple[str, str]] = {}
    for given, place in zip(words, places, strict=True):
        word = unicodedata.normalize("NFC", given)
        found = _checked(word, length, f"{where} {place}")
        if found in seen:
            other, first = seen[found]
            raise InputError(f"{where} {place}: {word!r} is a duplicate of {other!r} ({first})")
        seen[found] = word, place
    if len(seen) < 2:
        count = "is empty" if not seen else "has one word"
        raise InputError(f"{where} {count}; at least two words are needed")
    return tuple(word for word, _ in seen.values())


def _refuse_table(lines: Sequence[str], where: str) -> None:
    """Raise ``InputError`` where most lines are rows of several columns."""
    for sign in "\t;,|":
        rows = sum(sign in line and not re.fullmatch(r"\d{1,3}(,\d{3})+", line) for line in lines)
        if rows >= 2 and 2 * rows > len(lines):
            raise InputError(
                f"{where} looks like a table: {rows} of {len(lines)} lines have a {sign!r}; "
                "give one word a line, nothing else"
            )


def _checked(word: str, length: int, where: str) -> tuple[int, ...]:
    """Return the cells of ``word``, or raise ``InputError`` that starts with ``where``."""
    if not word:
        raise InputError(f"{where} is empty")
    letters = len(_signs(word))
    if letters > length:
        raise InputError(f"{where}: {word!r} has {letters} letters, at most {length} are allowed")
    try:
        found = cells(word)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if len(found) > length:
        raise InputError(
            f"{where}: {word!r} takes {len(found)} Braille cells, at most {length} are allowed"
        )
    return found
