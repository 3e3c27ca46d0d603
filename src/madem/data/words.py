"""Tasks on Braille words: what is shown, what is asked, and the limit of what can be known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from madem.data.braille import dots, read_words
from madem.data.task import Part, Samples
from madem.errors import InputError
from madem.network import Cost, CrossEntropy, Logistic
from madem.randomness import uniform

DOTS = 6
"""Dots of a Braille cell."""

LONGEST = 1000
"""The longest word, in Braille cells."""


def choose(
    codes: Float[Tensor, "words dots"], shape: tuple[int, ...], flip: float, generator: Generator
) -> tuple[Float[Tensor, "*shape dots"], Int[Tensor, "*shape"]]:
    """Return words drawn uniformly, each dot flipped with probability ``flip``; and which."""
    word = torch.randint(len(codes), shape, generator=generator, device=generator.device)
    word = word.to(codes.device)
    draws = uniform((*shape, codes.shape[-1]), generator, codes.device)
    seen = codes.index_select(0, word.flatten()).view(draws.shape)
    # negative where drawn below flip: signs cost a quarter of a comparison and a choice
    return torch.copysign(seen, draws.sub_(flip).mul_(seen)), word


@dataclass(frozen=True)
class Words(ABC):
    """Words seen through noise, without end: each batch and each set is drawn.

    Attributes:
        codes: the words' dots, -1 or +1, shape ``(words, dots)``.
        flip: probability that a dot flips, below one half.
        looked: how many samples a validation set has.
        tested: how many samples a test set has.
    """

    codes: Tensor
    flip: float
    looked: int = field(default=1000, kw_only=True)
    tested: int = field(default=10_000, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse a probability that is none."""
        check_probability("flip_probability", self.flip)

    @property
    def inputs(self) -> tuple[int, ...]:
        """Return the shape of one sample, ``(dots,)``."""
        return (int(self.codes.shape[-1]),)

    @abstractmethod
    def sample(
        self, shape: tuple[int, ...], generator: Generator, flip: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs ``(*shape, dots)``, targets, and the numbers of the words behind them."""

    def epoch(self, batch: int) -> None:
        """Return None: words are drawn without end."""
        del batch

    def batches(
        self, shape: tuple[int, ...], draws: Generator, seed: int, step: int = 0
    ) -> Iterator[Samples]:
        """Yield batches from ``draws``, of other words for every chip."""
        del seed, step
        while True:
            yield self.sample(shape, draws)[:2]

    def held(self, part: Part, draws: Generator) -> Samples:
        """Draw a set: ``tested`` samples to test on, ``looked`` otherwise."""
        return self.sample((self.tested if part == "test" else self.looked,), draws)[:2]


@dataclass(frozen=True)
class Classify(Words):
    """Which word is it? Dots flip with probability ``flip``; one output a word.

    >>> from madem.randomness import stream
    >>> task = Classify(torch.ones(2, 6), 0.0)
    >>> task.sample((3,), stream(0, "data"))[0].shape
    torch.Size([3, 6])
    """

    cost: Cost = CrossEntropy()

    @property
    def outputs(self) -> int:
        """One output a word."""
        return len(self.codes)

    def sample(
        self, shape: tuple[int, ...], generator: Generator, flip: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return noisy dots, the number of the word, and that number again."""
        x, word = choose(self.codes, shape, self.flip if flip is None else flip, generator)
        return x, word, word


@dataclass(frozen=True)
class Reconstruct(Words):
    """What are all its dots? Dots flip, and letters are hidden (dots at zero); one output a dot.

    ``hidden``: probability that a letter is hidden.
    """

    hidden: float
    cost: Cost = Logistic()

    def __post_init__(self) -> None:
        """Refuse a probability that is none."""
        super().__post_init__()
        check_probability("hidden_probability", self.hidden)

    @property
    def outputs(self) -> int:
        """One output a dot."""
        return int(self.codes.shape[-1])

    def sample(
        self, shape: tuple[int, ...], generator: Generator, flip: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return noisy dots with hidden letters, the true dots, and the number of the word."""
        x, word = choose(self.codes, shape, self.flip if flip is None else flip, generator)
        letters = self.outputs // DOTS
        seen = uniform((*shape, letters), generator, x.device) >= self.hidden
        return x * seen.repeat_interleave(DOTS, -1), self.codes[word], word


def classify_words(words: tuple[str, ...] = (), letters: int = 10, flip: float = 0.2) -> Classify:
    """Which word is it? Braille words seen through noise.

    ``words``: different words of at most ``letters`` cells, the shipped ones where there are none;
    ``flip``: probability that a dot flips.

    >>> classify_words(("a", "b"), 1).outputs
    2
    """
    return Classify(_codes(words, letters), flip)


def reconstruct_words(
    words: tuple[str, ...] = (), letters: int = 10, flip: float = 0.05, hidden: float = 0.2
) -> Reconstruct:
    """What are all its dots? Braille words seen through noise, with hidden letters.

    ``hidden``: probability that a letter is hidden; the others as of ``classify_words``.
    """
    return Reconstruct(_codes(words, letters), flip, hidden)


def _codes(words: tuple[str, ...], letters: int) -> Tensor:
    """Return the dots of ``words``, the shipped ones where there are none."""
    if not 1 <= letters <= LONGEST:
        raise InputError(f"letters must be from 1 to {LONGEST}, but is {letters}")
    return dots(words or read_words(), letters)


def bayes_chances(
    codes: Float[Tensor, "words dots"],
    x: Float[Tensor, "samples dots"],
    word: Int[Tensor, " samples"],
) -> Float[Tensor, " samples"]:
    """Return the chance that exact maximum-likelihood decoding of each input ``x`` is right.

    Under flips of equal probability below one half, and words of equal probability, the
    likelihood grows with the number of seen dots that agree: the most likely word has the
    largest ``codes . x``. The chance is one or zero, or that of guessing right between ties.

    >>> codes = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    >>> bayes_chances(codes, torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 0])).tolist()
    [1.0, 0.5]
    """
    agreement = x @ codes.mT
    best = agreement == agreement.max(-1, keepdim=True).values
    right = best.gather(-1, word[:, None])[:, 0].double()
    return right / best.sum(-1)


def check_probability(field: str, value: float) -> None:
    """Raise ``InputError`` unless ``0 <= value < 1 / 2`` (hidden letters: below 1)."""
    top = 0.5 if field.startswith("flip") else 1.0
    if not 0 <= value < top:
        raise InputError(f"{field} must be at least 0 and below {top}, but is {value}")
