"""Figures of runs so small that a word is never shown and a curve is one point."""

from __future__ import annotations

import warnings

import numpy as np

from madem.report import figures


def test_a_word_that_was_never_shown_was_never_taken_for_another() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "<svg" in figures.confusion(np.array([[3.0, 1.0], [0.0, 0.0]]), ["ab", "cd"], "t")


def test_a_curve_of_one_look() -> None:
    metrics = {name: {"curve": [[0, [0.5]], [1, [0.6]]], "samples": 32} for name in figures.TITLES}
    part = dict.fromkeys(("bayes", "backprop", "ex_situ", "untrained"), 0.5)
    both = {"one_layer": part, "two_layer": part}
    summary = {"tasks": {"classify": both, "reconstruct": both}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "<svg" in figures.svg(figures.learning_curves(metrics, summary))
