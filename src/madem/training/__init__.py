"""Training as a library: a plan, its machine, the one loop, and what it is measured against."""

from madem.training.assemble import (
    AsAsked,
    Cells,
    FastInFront,
    Ideal,
    OnChips,
    OnCircuit,
    Pairs,
    cells_in,
    chips_of,
    first_weights,
    lines_of,
)
from madem.training.evaluate import outputs, predicts, score, scores
from madem.training.plan import Cosine, Exponential, Making, Plan, Schedule, looks_at
from madem.training.settling import ended, phases_of, prices_of, settling, slow, strengths_of
from madem.training.statistics import Measured, measured
from madem.training.timeline import Span, by_phase, timeline
from madem.training.trainer import Row, Trainer
from madem.training.yardsticks import Digital, ideal_outputs, programmed, train_digitally

__all__ = [
    "AsAsked",
    "Cells",
    "Cosine",
    "Digital",
    "Exponential",
    "FastInFront",
    "Ideal",
    "Making",
    "Measured",
    "OnChips",
    "OnCircuit",
    "Pairs",
    "Plan",
    "Row",
    "Schedule",
    "Span",
    "Trainer",
    "by_phase",
    "cells_in",
    "chips_of",
    "ended",
    "first_weights",
    "ideal_outputs",
    "lines_of",
    "looks_at",
    "measured",
    "outputs",
    "phases_of",
    "predicts",
    "prices_of",
    "programmed",
    "score",
    "scores",
    "settling",
    "slow",
    "strengths_of",
    "timeline",
    "train_digitally",
]
