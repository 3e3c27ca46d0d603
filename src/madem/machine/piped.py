"""A chip in another process as a machine: one line of JSON asked, one line of JSON answered.

``docs/machines.md`` says what the other side, such as a laboratory's controller, has to answer.
Nothing that it says is run: numbers are taken, of the shapes that the network has.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import IO, Any

import torch
from torch import Tensor

from madem.errors import InputError, shown
from madem.machine.base import Machine, Observed, Start
from madem.machine.writing import Written
from madem.network import Current, Network, Nudge
from madem.network.couplings import Shape

LONGEST = 1 << 28
"""Bytes of the longest answer that is taken."""

WAITING = 1e6
"""Seconds of the longest wait that the system knows."""


class Piped(Machine):
    """The chip that ``command`` drives, asked over its standard input and output.

    ``network``: what the chip computes, whose joints name the shapes of its parameters;
    ``timeout``: s, within which it must answer. The activities that it senses are contrasted here;
    what it does with a change is its own: ``parameters`` are what it last said that it holds.
    ``close()`` ends the process. Raises ``InputError`` where it does not start, ends, is silent,
    when it is ended too, or answers anything else.
    """

    def __init__(self, network: Network, command: Sequence[str], timeout: float = 60.0) -> None:
        """Start the other process, and ask what its chip holds."""
        self.network = network
        self.timeout = timeout
        self.told = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(
                list(command), bufsize=0, stdin=pipe, stdout=pipe, stderr=self.told
            )
        except OSError as error:
            self.told.close()
            what = f"the chip {shown(command[0])} did not start: {error.strerror}"
            raise InputError(what) from None
        self.close = weakref.finalize(self, _end, self.process, self.told)
        for end in (self.process.stdin, self.process.stdout):
            os.set_blocking(end.fileno(), False)  # type: ignore[union-attr]
        self.held = self._parameters(self._ask({"verb": "show"}))

    @property
    def parameters(self) -> list[Tensor]:
        """What the chip said that it holds, after the last write."""
        return self.held

    def settle(self, x: Tensor, nudge: Nudge | None = None, start: Start = None) -> Observed:
        """Let the chip come to rest with ``x``, ``(batch, *inputs)``, under a current or free."""
        del start
        shapes = self.network.state_shapes
        if tuple(x.shape[1:]) != shapes[0] or not x.is_floating_point():
            raise InputError(
                f"x must have the shape (batch, {', '.join(map(str, shapes[0]))}), but has "
                f"{tuple(x.shape)} of {x.dtype}: a chip in another process is one chip"
            )
        push = None
        if isinstance(nudge, Current) and not isinstance(nudge.beta, complex):
            push = (nudge.beta * nudge.gradient).tolist()
        elif nudge is not None:
            raise InputError(f"a chip in another process is nudged by a real current, not by a "
                             f"{type(nudge).__name__}: use currents")  # fmt: skip
        answer = self._ask({"verb": "settle", "x": x.tolist(), "push": push})
        layers = {f"states[{i}]": (len(x), *shape) for i, shape in enumerate(shapes[1:])}
        states = _tensors(answer.get("states"), "states", layers, x.dtype)
        read = {"output": (len(x), *shapes[-1]), "converged": (len(x),)}
        output, rest = _tensors([answer.get(key) for key in read], "answer", read, x.dtype)
        self.count(rest > 0)
        return Observed((x, *states), output, rest > 0)

    def write(self, changes: Sequence[Tensor]) -> tuple[Written | None, ...]:
        """Ask the chip to change its parameters by ``changes``."""
        if [change.shape for change in changes] != [p.shape for p in self.held]:
            raise InputError("changes must have the shapes of the parameters")
        wanted = [change.tolist() for change in changes]
        self.held = self._parameters(self._ask({"verb": "write", "changes": wanted}))
        return tuple(None for _ in self.network.joints)

    def _parameters(self, answer: dict[str, Any]) -> list[Tensor]:
        """Return the parameters of an answer."""
        shapes = [s for joint in self.network.joints for s in joint.parameters.values()]
        wanted = {f"parameter {n}": s for n, s in zip(self.names, shapes, strict=True)}
        return _tensors(answer.get("parameters"), "parameters", wanted, torch.float32)

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to ``question``; what comes too late must not be taken for the next."""
        if not self.close.alive:
            raise InputError("the chip's process was ended: start it anew")
        try:
            asked = json.dumps(question, allow_nan=False).encode() + b"\n"
        except (TypeError, ValueError):
            what = f"{question['verb']!r} must ask a chip for finite real numbers, but has others"
            raise InputError(what) from None
        try:
            line = self._exchange(asked, question["verb"])
        except BaseException:
            self.close()
            raise
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise InputError(f"the chip answered {question['verb']!r} with no JSON object, but "
                             f"with {shown(line[:60].decode(errors='replace'))}")  # fmt: skip
        if "error" in answer:
            raise InputError(f"the chip refused {question['verb']!r}: {shown(answer['error'])}")
        return answer

    def _exchange(self, question: bytes, verb: str) -> bytes:
        """Send a line while reading, so that neither side waits for the other; return a line."""
        answer, end = bytearray(), time.monotonic() + min(self.timeout, WAITING)
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
            ready.register(self.process.stdin, selectors.EVENT_WRITE)  # type: ignore[arg-type]
            while not answer.endswith(b"\n"):
                events = ready.select(max(0.0, end - time.monotonic()))
                if not events:
                    raise InputError(f"the chip did not answer {verb!r} within {self.timeout:g} s, "
                                     "and was ended")  # fmt: skip
                early = bool(question)
                for key, _ in events:
                    try:
                        if key.fileobj is self.process.stdin:
                            question = question[os.write(key.fd, question) :]
                            if not question:
                                ready.unregister(key.fileobj)
                            continue
                        got = os.read(key.fd, 1 << 16)
                    except BrokenPipeError:
                        got = b""
                    answer += got
                    if not got:
                        raise self._ended(verb)
                    if early:
                        raise InputError(f"the chip spoke before it was asked {verb!r}: "
                                         f"{shown(got[:60].decode(errors='replace'))}")  # fmt: skip
                    if len(answer) > LONGEST:
                        raise InputError(f"the answer to {verb!r} is longer than {LONGEST} bytes")
        return bytes(answer)

    def _ended(self, verb: str) -> InputError:
        """Return what to say of a process that has ended: its own last words."""
        self.process.kill()
        code = self.process.wait()
        self.told.seek(0)
        last = self.told.read().decode(errors="replace").strip().splitlines()[-1:]
        said = f", and last said {shown(last[0])}" if last else ""
        return InputError(f"the chip's process ended at {verb!r} with exit code {code}{said}")


def _tensors(
    given: object, key: str, wanted: Mapping[str, Shape], kind: torch.dtype
) -> list[Tensor]:
    """Return a list of numbers of an answer as tensors of the shapes ``wanted``, all finite."""
    if not isinstance(given, list) or len(given) != len(wanted):
        raise InputError(f"the chip's {key} must be a list of {len(wanted)}, but is {shown(given)}")
    tensors = []
    for part, (what, shape) in zip(given, wanted.items(), strict=True):
        try:
            found = torch.tensor(part, dtype=kind)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise InputError(f"the chip's {what} must be numbers, but is {shown(part)}") from None
        if tuple(found.shape) != shape or not bool(torch.isfinite(found).all()):
            raise InputError(
                f"the chip's {what} must be finite and of the shape {shape}, but of the "
                f"shape {tuple(found.shape)} it is {shown(part)}"
            )
        tensors.append(found)
    return tensors


def _end(process: subprocess.Popen[bytes], told: IO[bytes]) -> None:
    """End a process, and close all that is open to it."""
    process.kill()
    process.wait()
    for each in (process.stdin, process.stdout, told):
        if each is not None:
            each.close()
