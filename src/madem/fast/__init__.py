"""Kernels behind the physics: what is exactly of a type they know, they answer faster."""

from madem.fast.pairs import relax_pair
from madem.fast.prepare import bind, prepare

__all__ = ["bind", "prepare", "relax_pair"]
