"""Addresses at which others are served: of IPv4, and of IPv6 where the machine has it."""

from __future__ import annotations

import socket

import pytest
import zmq

from madem.errors import InputError
from madem.serve.config import ServiceConfig
from madem.serve.sockets import bound, joined, taken
from tests.serve.running import ports


def reachable(host: str) -> bool:
    """Return whether this machine has such an address."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        try:
            tried.bind((host, 0))
        except OSError:
            return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_is_sent_to_an_address_comes(host: str) -> None:
    if not reachable(host):
        pytest.skip(f"no {host} on this machine")
    (port,) = ports(1)
    address = ServiceConfig(host=host, labels=port).address("labels")
    with zmq.Context() as context:
        hears, tells = bound(context, "PULL", address, "labels"), joined(context, "PUSH", address)
        tells.send(b"a label")
        assert hears.poll(5000)
        assert list(taken(hears)) == [b"a label"]
        with pytest.raises(InputError, match=f"labels: .*:{port}: .* choose another port"):
            bound(context, "PULL", address, "labels")
        for each in (hears, tells):
            each.close()


def test_a_name_is_found_under_ipv4() -> None:
    (port,) = ports(1)
    with zmq.Context() as context:
        hears = bound(context, "PULL", f"tcp://127.0.0.1:{port}", "labels")
        tells = joined(context, "PUSH", f"tcp://localhost:{port}")
        tells.send(b"a label")
        assert hears.poll(5000)
        for each in (hears, tells):
            each.close()
