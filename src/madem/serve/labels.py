"""Labels: what somebody else found a frame to show, as messages and as files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from madem.beam import needed
from madem.beam.sources.messages import BUILT_IN, refuse
from madem.documents import read
from madem.errors import InputError, abridged, shown

AT_ONCE = 1000
"""Labels in a message, at most."""
TOGETHER = 250
"""Labels in a message that is sent: with the longest names it is not too large."""


class Label(NamedTuple):
    """Frame ``image`` of ``series`` is a ``hit``, or none."""

    series: str
    image: int
    hit: bool


def label_of(held: Any) -> Label | None:
    """Return what a mapping says as a label, None where it is none.

    >>> label_of({"series": "1-A", "image": 7, "hit": 1})
    Label(series='1-A', image=7, hit=True)
    >>> label_of({"series": "1-A", "image": -7, "hit": 1}) is None
    True
    """
    if not isinstance(held, Mapping):
        return None
    series, image, hit = held.get("series"), held.get("image"), held.get("hit")
    if not isinstance(series, str) or not 0 < len(series) <= 100:
        return None
    if not isinstance(image, int) or isinstance(image, bool) or not 0 <= image < 2**53:
        return None
    return Label(series, image, bool(hit)) if hit in (0, 1) else None


def labels_in(content: bytes) -> Iterator[Label | None]:
    """Yield the labels of a message, a list of maps in CBOR, None for each that is none."""
    cbor2 = needed("cbor2", "serve")
    try:
        held = cbor2.loads(
            content, tag_hook=refuse, semantic_decoders=dict.fromkeys((0, *BUILT_IN), refuse),
            max_depth=4, allow_indefinite=False, strict_hashable_types=True,
        )  # fmt: skip
    except Exception:  # whatever the decoder makes of bytes that are no message
        held = None
    if not isinstance(held, list | tuple) or len(held) > AT_ONCE:
        yield None
        return
    for each in held:
        yield label_of(each)


def messages_of(labels: Iterable[Label]) -> Iterator[bytes]:
    """Yield labels as messages."""
    cbor2 = needed("cbor2", "serve")
    part = list[dict[str, Any]]()
    for each in labels:
        part.append({"series": each.series, "image": each.image, "hit": int(each.hit)})
        if len(part) == TOGETHER:
            yield cbor2.dumps(part)
            part = []
    if part:
        yield cbor2.dumps(part)


def read_labels(path: Path) -> list[Label]:
    """Return the labels of a CSV file with the columns series, image and hit.

    Raises ``InputError``, which names the line.
    """
    text = read(path, "labels", 20_000_000).decode("utf-8-sig", "replace")
    where = f"labels: {abridged(path)}"
    rows = csv.DictReader(text.splitlines())
    try:
        return list(_labels(rows, where))
    except csv.Error as error:
        raise InputError(f"{where}: line {rows.line_num + 1}: {error}") from None


def _labels(rows: csv.DictReader[str], where: str) -> Iterator[Label]:
    if not {"series", "image", "hit"} <= set(rows.fieldnames or ()):
        raise InputError(f"{where} needs a header with series, image and hit, but "
                         f"has {shown(', '.join(rows.fieldnames or ()))}")  # fmt: skip
    for row in rows:
        numbers = [row[key] or "" for key in ("image", "hit")]
        label = None
        if all(each.strip().isdecimal() and len(each) < 20 for each in numbers):
            label = label_of({"series": row["series"], "image": int(numbers[0]),
                              "hit": int(numbers[1])})  # fmt: skip
        if label is None:
            raise InputError(
                f"{where}: line {rows.line_num}: image must be a number and hit 0 or 1, but are "
                f"{shown(', '.join(numbers))}"
            )
        yield label
