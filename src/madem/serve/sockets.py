"""Sockets between the processes of the service, and those at which others are served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from madem.beam import needed
from madem.errors import InputError

LARGEST = 2**17
"""Bytes of the largest message that is heard where nothing else is said."""
WAITING = 10_000
"""Messages that wait to be sent."""
HEARD = 100
"""Messages of one sender that wait to be heard."""


def bound(context: Any, kind: str, address: str, key: str) -> Any:
    """Return a socket of a ``kind`` at ``address``; ``InputError``, of ``key``, if it is taken."""
    zmq = needed("zmq", "serve")
    socket = plain(context, kind)
    try:
        attach(socket.bind, socket, address)
    except zmq.ZMQError as error:
        socket.close()
        raise InputError(
            f"{key}: {address}: {error}: choose another port, or end who has it"
        ) from None
    return socket


def joined(context: Any, kind: str, address: str, largest: int = LARGEST) -> Any:
    """Return a socket of a ``kind`` that is connected to ``address``, for messages so large."""
    socket = plain(context, kind, largest)
    attach(socket.connect, socket, address)
    return socket


def attach(how: Callable[[str], Any], socket: Any, address: str) -> None:
    """Bind or connect a ``socket``, as ``how`` says, to an ``address`` of IPv4 or IPv6.

    Where IPv6 is asked for always, ``localhost`` is no longer found under IPv4.
    """
    socket.setsockopt(needed("zmq", "serve").IPV6, "[" in address)
    how(address)


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
