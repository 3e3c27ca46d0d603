"""Braille as somebody writes it: dots displaced, merged and worn in that writer's way.

A writer's *hand* is a row of numbers, from which follows how high every dot of a cell comes out for
each dot that was meant. All of it is ours: simple, and no measurement of any writer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from madem.data.words import DOTS
from madem.errors import InputError
from madem.randomness import normal

WORDS = (
    "that", "with", "have", "this", "will", "your", "from", "they", "know", "want", "been", "good",
    "much", "some", "time", "very", "when", "come", "here", "just", "like", "long", "make", "many",
    "more", "only", "over", "such", "take", "than", "them", "well",
)  # fmt: skip
"""Short words, 32 common ones of four letters."""

PLACES = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0], [1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
"""Column and row of every dot of a cell, in pitches."""

PAIRS = tuple(
    (i, j) for i in range(DOTS) for j in range(i) if bool((PLACES[i] - PLACES[j]).norm() == 1)
)
"""Dots of a cell that lie one pitch apart."""

NUMBERS = 2 + len(PAIRS) + DOTS
"""Of a hand: how far dots lie off, both ways; of every pair of neighbours; of every dot."""


@dataclass(frozen=True)
class Hands:
    """Writers: how far their hands differ, and how well a dot is felt.

    A hand is ``NUMBERS`` numbers, normal over writers, that are multiplied by the following.
    ``displaced``: how far all dots lie off, across and along, in pitches; what a displaced dot
    gives to its neighbours it lacks itself, and what leaves its cell is lost. ``merged``: how high
    a dot is raised by a raised neighbour, each pair by itself. ``worn``: how much of its height
    each dot lacks. The last two drop the sign. ``noise``: standard deviation of every dot as it is
    felt, where a flat dot is -1 and one in full height +1; what is felt is never beyond these.

    >>> Hands(displaced=0.25, merged=0.1, worn=0.0).matrix(torch.eye(NUMBERS)[0])[3]
    tensor([0.2500, 0.0000, 0.0000, 0.7500, 0.0000, 0.0000])
    """

    displaced: float = 0.12
    merged: float = 0.1
    worn: float = 0.15
    noise: float = 0.4

    def __post_init__(self) -> None:
        """Refuse what no hands can be."""
        for each in fields(self):
            if not 0 <= getattr(self, each.name) <= 10:
                raise InputError(
                    f"{each.name} must be from 0 to 10, but is {getattr(self, each.name)}"
                )
        if not self.noise:
            raise InputError("noise must be above 0, but is 0")

    def matrix(self, hand: Float[Tensor, "*hands numbers"]) -> Float[Tensor, "*hands 6 6"]:
        """Return how high each dot of a cell comes out (rows) for each that is meant (columns)."""
        off, merged, worn = hand.split([2, len(PAIRS), DOTS], -1)
        apart = PLACES[:, None] - PLACES - self.displaced * off[..., None, None, :]
        height = (1 - apart.abs()).clamp_min(0).prod(-1)  # bilinear, as a pixel shares a spot
        i, j = torch.tensor(PAIRS).T
        raised = torch.zeros_like(height)
        raised[..., i, j] = raised[..., j, i] = self.merged * merged.abs()
        found: Tensor = (height + raised) * (1 - self.worn * worn.abs()).clamp_min(0)[..., None, :]
        return found

    def shown(
        self, hand: Float[Tensor, "*samples numbers"], codes: Float[Tensor, "*samples dots"]
    ) -> Float[Tensor, "*samples dots"]:
        """Return the mean of what is felt of words whose dots ``codes`` says, -1 or +1."""
        meant = (codes.unflatten(-1, (-1, DOTS)) + 1) / 2
        height = (meant @ self.matrix(hand).mT).clamp_max(1)
        found: Tensor = 2 * height.flatten(-2) - 1
        return found

    def felt(self, shown: Tensor, draws: Generator) -> Tensor:
        """Return what is felt where the mean is ``shown``."""
        return (shown + self.noise * normal(tuple(shown.shape), draws)).clamp(-1, 1)

    def likelihood(
        self, felt: Float[Tensor, "*samples dots"], shown: Float[Tensor, "*samples words dots"]
    ) -> Float[Tensor, "*samples words"]:
        """Return the logarithm of how likely what was ``felt`` is for each word that is ``shown``.

        Exact: a normal density between flat and raised, and its tails there.
        """
        away = (felt[..., None, :] - shown) / self.noise
        inside = -(away**2) / 2 - math.log(self.noise * math.sqrt(2 * math.pi))
        tails = torch.special.log_ndtr(-away * felt[..., None, :].sign())
        return torch.where(felt[..., None, :].abs() == 1, tails, inside).sum(-1)


def bulk(writers: int, draws: Generator) -> Float[Tensor, "writers numbers"]:
    """Return the hands of so many writers."""
    return normal((writers, NUMBERS), draws)


def outside(strength: float, draws: Generator) -> Float[Tensor, " numbers"]:
    """Return a hand in some direction, ``strength`` times as large as usual ones.

    >>> round(float(outside(3.0, torch.Generator()).square().mean().sqrt()), 4)
    3.0
    """
    found = normal((NUMBERS,), draws)
    found *= strength / found.square().mean().sqrt()
    return found


def turned(
    hand: Float[Tensor, " numbers"], other: Float[Tensor, " numbers"], turn: Float[Tensor, " words"]
) -> Float[Tensor, "words numbers"]:
    """Return a hand that becomes the ``other`` in a quarter turn, after each ``turn``, rad."""
    return turn.cos()[:, None] * hand + turn.sin()[:, None] * other


def written(
    hands: Hands, hand: Float[Tensor, "words numbers"], codes: Tensor, draws: Generator
) -> tuple[Float[Tensor, "words dots"], Int[Tensor, " words"]]:
    """Return words as they are felt, each in its own ``hand``, and which of ``codes`` they are."""
    word = torch.randint(len(codes), (len(hand),), generator=draws)
    return hands.felt(hands.shown(hand, codes[word]), draws), word
