"""What is sent as a detector would: that it says for whom it waits."""

from __future__ import annotations

import pytest

from madem.errors import InputError
from madem.serve import replay
from tests.serve.running import ports


def test_it_says_that_it_waits_for_a_service(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(replay, "TELLS", 0.05)
    monkeypatch.setattr(replay, "BEGINS", 0.2)
    address = f"tcp://127.0.0.1:{ports(1)[0]}"
    with pytest.raises(InputError, match=f"source: nobody takes frames at {address}"):
        replay.replay([], "1-A", address, 10.0)
    assert caplog.messages == [f"waiting for a service at {address}, 0 s at most"]
