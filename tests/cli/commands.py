"""The command line, called in this process."""

from __future__ import annotations

import sys
from unittest.mock import patch

import pytest

from madem.cli import main


def command(*words: str) -> int:
    """Run the command line, and return its exit code."""
    with patch.object(sys, "argv", ["madem", *words]), pytest.raises(SystemExit) as stopped:
        main()
    code = stopped.value.code
    return code if isinstance(code, int) else int(code is not None)


def one_line(text: str) -> bool:
    """Return whether ``text`` is one short line and no traceback."""
    return text.count("\n") == 1 and "Traceback" not in text and len(text) < 300
