"""Couplings in the fastest form that they have, made when they are bound to an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from madem.fast import mirrored
from madem.fast.convolutions import Largest, Tiled
from madem.fast.pairs import Bound
from madem.network.amplifiers import Amplifier
from madem.network.convolutions import Convolution, Filter, ResistorConvolution
from madem.network.couplings import Coupling
from madem.network.network import Network
from madem.network.pooling import Average, Maximum
from madem.network.problem import Problem
from madem.network.resistors import Mirrored


def bind(network: Network, couplings: Sequence[Coupling], x: Tensor) -> Problem:
    """Return ``network.bind(couplings, x)`` in the fastest form that it has.

    >>> from madem.network import Free, Layer, Matrix
    >>> import torch
    >>> bind(Network(1, (Layer(1, Free()),)), [Matrix(torch.ones(1, 1))], torch.ones(1, 1)).fixed
    (tensor([[1.]]),)
    """
    plain = network.bind(prepare(couplings, x), x)
    return Bound(plain.sites, plain.couplings, plain.ends, plain.x, plain.fixed, plain.loads)


def prepare(couplings: Sequence[Coupling], x: Tensor) -> list[Coupling]:
    """Return equals of ``couplings`` that are faster, for the batch of inputs ``x``.

    What has no faster form, or is not exactly of a type that has one, is returned as it is.
    Neither parameters nor states may be changed in place while what is returned is in use.

    >>> from madem.network import Matrix
    >>> import torch
    >>> plain = Convolution(Filter(torch.ones(16, 16, 3, 3), padding=1), pool=Maximum(2))
    >>> fast, matrix = prepare([plain, Matrix(torch.ones(1, 1))], torch.ones(1, 16, 8, 8))
    >>> type(fast), type(fast.filter).__name__, type(matrix).__name__
    (<class 'madem.network.convolutions.Convolution'>, 'Tiled', 'Matrix')
    """
    return [_faster(coupling, x) for coupling in couplings]


def _faster(coupling: Coupling, x: Tensor | None) -> Coupling:
    """Return a coupling in its fastest form; ``x`` is None where it does not see the input."""
    if type(coupling) is Amplifier:
        inner = _faster(coupling.coupling, x if coupling.gain == 1 else None)
        return coupling if inner is coupling.coupling else replace(coupling, coupling=inner)
    if type(coupling) is Mirrored and x is not None:
        return mirrored.read(coupling, x)
    if type(coupling) is Convolution and type(coupling.filter) is Filter:
        pool = coupling.pool
        if type(pool) is Maximum:
            return replace(coupling, filter=Tiled.of(coupling.filter), pool=Largest(pool.size))
        if type(pool) is Average:
            return replace(coupling, filter=Tiled.of(coupling.filter))
    if type(coupling) is ResistorConvolution and type(coupling.filter) is Filter:
        return replace(coupling, filter=Tiled.of(coupling.filter))
    return coupling
