"""What came of chips that learned under noise, as its ``summary.json`` holds it."""

from __future__ import annotations

from typing import Literal

from madem.experiments.running.results import Result


class Band(Result):
    """A mean over training sets for every level, and its 95 % bootstrap interval."""

    mean: list[float]
    low: list[float]
    high: list[float]


class Optimum(Result):
    """Which level of noise is ``best`` on test data, by its number from 0, and in which interval.

    ``gain``: what each level has more than none, paired by training set; its interval holds for all
    levels together; ``helps``: whether that of some level excludes zero.
    """

    best: int
    interval: tuple[int, int]
    gain: Band
    helps: bool


class Read(Result):
    """Shares of right decisions, and the ``gap`` between those in training and in test."""

    training: Band
    test: Band
    gap: Band
    optimum: Optimum


class Row(Result):
    """Training sets of one ``size``, tested with the noise of training and with averaged reads.

    ``unsettled``: settlings in training that missed the tolerance.
    """

    size: int
    unsettled: int
    noisy: Read
    averaged: Read


class NoiseResults(Result):
    """The answers, a row for each size; ``chips`` of every level."""

    experiment: Literal["noise"] = "noise"
    seed: int
    chips: int
    levels: list[str]
    rows: list[Row]
