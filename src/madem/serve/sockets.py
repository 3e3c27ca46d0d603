"""Sockets between the processes of the service, and those at which others are served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from madem.beam import needed
from madem.errors import InputError

LARGEST = 2**17
"""Bytes of the largest message that is heard where nothing else is said."""
WAITING = 10_000
"""Messages that wait to be sent."""
HEARD = 100
"""Messages of one sender that wait to be heard."""


def tcp(host: str, port: int) -> str:
    """Return the address of a port.

    >>> tcp("127.0.0.1", 80), tcp("::1", 80)
    ('tcp://127.0.0.1:80', 'tcp://[::1]:80')
    """
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def bound(context: Any, kind: str, address: str, key: str) -> Any:
    """Return a socket of a ``kind`` at ``address``; ``InputError``, of ``key``, if it is taken."""
    zmq = needed("zmq", "serve")
    socket = plain(context, kind)
    socket.setsockopt(zmq.IPV6, "[" in address)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise InputError(
            f"{key}: {address}: {error}: choose another port, or end who has it"
        ) from None
    return socket


def joined(context: Any, kind: str, address: str, largest: int = LARGEST) -> Any:
    """Return a socket of a ``kind`` that is connected to ``address``, for messages so large."""
    socket = plain(context, kind, largest)
    socket.setsockopt(needed("zmq", "serve").IPV6, "[" in address)
    socket.connect(address)
    return socket


def plain(context: Any, kind: str, largest: int = LARGEST) -> Any:
    """Return a socket that waits for nobody when it is closed.

    Who sends it more than ``largest`` bytes at once is cut off.
    """
    zmq = needed("zmq", "serve")
    socket = context.socket(getattr(zmq, kind))
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, WAITING)
    socket.setsockopt(zmq.RCVHWM, HEARD)
    socket.setsockopt(zmq.MAXMSGSIZE, largest)
    return socket


def taken(socket: Any, most: int = 20) -> Iterator[bytes]:
    """Yield what has come, ``most`` messages at once, and wait for none."""
    zmq = needed("zmq", "serve")
    for _ in range(most):
        try:
            yield socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return


def offered(socket: Any, content: bytes) -> bool:
    """Send what somebody may take, and return whether there was room for it."""
    zmq = needed("zmq", "serve")
    try:
        socket.send(content, zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True
