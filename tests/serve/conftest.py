"""A calibrated folder, made once, that every test copies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.serve.running import small

for package in ("zmq", "cbor2", "starlette", "uvicorn", "prometheus_client", "pyFAI", "gemmi"):
    pytest.importorskip(package, reason="needs the extra serve: pip install 'madem[serve]'")


@pytest.fixture(scope="session")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from madem.serve.service import prepare

    folder = tmp_path_factory.mktemp("calibrated") / "service"
    folder.mkdir()
    prepare(small(), folder)
    return folder


@pytest.fixture
def folder(calibrated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(calibrated, tmp_path / "service"))
