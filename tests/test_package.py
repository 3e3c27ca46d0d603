"""The package as others get it: what it offers, what it ships, and that its sdist installs."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

import madem

ROOT = Path(__file__).parents[1]


def test_every_offered_name_is_there() -> None:
    assert len(madem.__all__) == 22
    for name in madem.__all__:
        assert getattr(madem, name) is not None
        assert name in dir(madem)


def test_importing_madem_imports_no_torch() -> None:
    code = "import sys, madem; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_types_are_for_others_too() -> None:
    assert files("madem").joinpath("py.typed").is_file()


def test_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == madem.__version__
    assert f"## {madem.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_the_sdist_installs_in_a_fresh_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = pytest.importorskip("scikit_build_core.build")
    monkeypatch.chdir(ROOT)
    sdist = tmp_path / build.build_sdist(str(tmp_path))
    venv.create(tmp_path / "fresh", with_pip=True)
    python = tmp_path / "fresh" / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    # everything but madem itself comes from here, so that nothing large is installed again
    held = [path for path in sys.path if path.endswith("site-packages")]
    Path(site, "dependencies.pth").write_text("\n".join(held))
    subprocess.run([python, "-m", "pip", "install", "-qq", "--no-deps", sdist], check=True)
    code = (
        "import madem, sys; from madem.fast.native import kernels;"
        "from importlib.resources import files;"
        "assert kernels and files('madem').joinpath('py.typed').is_file();"
        "assert madem.__file__.startswith(sys.prefix), madem.__file__;"
        "madem.read_words(), madem.load('taox-1t1m')"
    )
    subprocess.run([python, "-I", "-c", code], check=True, cwd=tmp_path)
    subprocess.run([tmp_path / "fresh" / "bin" / "madem", "device", "list"], check=True)
