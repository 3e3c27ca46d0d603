"""Draw the pictures of the documentation from a finished run.

python docs/make_pictures.py runs/braille
"""

from __future__ import annotations

import sys
from pathlib import Path

from madem.experiments.running.rundir import RunDirectory
from madem.report.figures import learning_curves


def main() -> None:
    """Write ``docs/learning.png``."""
    folder = RunDirectory(Path(sys.argv[1]))
    figure = learning_curves(folder.load_json("metrics.json"), folder.load_json("summary.json"))
    figure.savefig(Path(__file__).parent / "learning.png", dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
