"""Generations: whole or not there, whatever happens to the disk."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from madem.errors import InputError
from madem.serve.page import generations
from madem.serve.store import FORMAT, Store


def saved(path: Path, count: int = 1, keep: int = 20) -> Store:
    store = Store(path, keep)
    for number in range(count):
        store.save({"x": torch.full((3,), float(number))}, {"why": "test"})
    return store


def test_what_was_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    store = Store(tmp_path)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert store.save({"x": x.T, "n": torch.tensor(3)}, {"why": "test"}) == 1
    found = store.current()
    assert found is not None
    assert torch.equal(found.tensors["x"], x.T)
    assert (found.number, found.manifest["why"], found.manifest["parent"]) == (1, "test", None)


def test_old_ones_go_and_pinned_ones_stay(tmp_path: Path) -> None:
    store = saved(tmp_path, 2, keep=2)
    store.pin(1)
    for _ in range(4):
        store.save({"x": torch.zeros(1)}, {"why": "test"})
    assert store.numbers() == [1, 5, 6]


@pytest.mark.parametrize("call", range(12))
def test_power_lost_at_any_step_leaves_the_old_one_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    store, left = saved(tmp_path), [call]

    def failing(name: str, own: Any) -> Any:
        def done(*given: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            return own(*given, **named)

        return done

    for name in ("fsync", "replace", "rename", "mkdir", "open"):
        monkeypatch.setattr(os, name, failing(name, getattr(os, name)))
    failed = False
    try:
        store.save({"x": torch.ones(3)}, {"why": "second"})
    except OSError:
        failed = True
    monkeypatch.undo()
    found = Store(tmp_path).current()
    assert found is not None
    assert found.number in (1, 2)
    assert failed or found.number == 2
    assert found.tensors["x"].tolist() == [float(found.number == 2)] * 3
    assert store.save({"x": torch.ones(3)}, {"why": "again"}) in (2, 3)


@pytest.mark.parametrize(
    "harm", ["torn", "longer", "gone", "manifest", "format", "current", "link"]
)
def test_damage_is_found_and_the_newest_whole_one_is_used(tmp_path: Path, harm: str) -> None:
    store = saved(tmp_path, 2)
    where = tmp_path / "generations/000002"
    state, manifest = where / "state.safetensors", where / "manifest.json"
    if harm == "torn":
        state.write_bytes(state.read_bytes()[:-1])
    elif harm == "longer":
        state.write_bytes(state.read_bytes() + b"\0")
    elif harm == "gone":
        shutil.rmtree(where)
    elif harm == "manifest":
        manifest.write_bytes(b"[" * 5000)
    elif harm == "format":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": FORMAT + 1}))
    elif harm == "link":
        (tmp_path / "CURRENT").rename(tmp_path / "other")
        (tmp_path / "CURRENT").symlink_to(tmp_path / "other")
        (tmp_path / "generations/²").mkdir()
    else:
        (tmp_path / "CURRENT").write_bytes(b"\xff\x00")
    found = store.current()
    assert found is not None
    assert found.number == (2 if harm in ("current", "link") else 1)
    if harm not in ("current", "link"):
        with pytest.raises(InputError, match=r"damaged|no generation 2|has format 2"):
            store.point(2)


def test_the_journal_says_what_was_written_since(tmp_path: Path) -> None:
    store = saved(tmp_path)
    store.note({"cells": 5})
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"since": 1, "cel')  # a kill
    assert store.noted() == [{"since": 1, "cells": 5}]
    store.save({"x": torch.zeros(1)}, {"why": "next"})
    assert store.noted() == []


@pytest.mark.parametrize(
    "said", ["[]", "null", '{"at": "soon"}', '{"at": 1e300}', '{"missed": "x"}', "[" * 9000]
)
def test_a_manifest_that_says_nonsense_is_shown_without_it(tmp_path: Path, said: str) -> None:
    store = saved(tmp_path, 2)
    (tmp_path / "generations/000002/manifest.json").write_text(said)
    shown = generations(store)
    assert shown[-1]["why"] is not None
    for each in shown[:-1]:
        assert (each["number"], each["at"], each["missed"]) == (2, None, None)
