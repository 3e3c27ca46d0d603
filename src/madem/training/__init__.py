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
from madem.training.settling import (
    cut_phases,
    longer,
    phases_of,
    prices_of,
    settled_within,
    settling,
    strengths_of,
)
from madem.training.statistics import Estimate, measured
from madem.training.timeline import Span, by_phase, timeline
from madem.training.trainer import Row, Trainer
from madem.training.yardsticks import Digital, ideal_outputs, programmed, train_digitally

__all__ = [
    "AsAsked",
    "Cells",
    "Cosine",
    "Digital",
    "Estimate",
    "Exponential",
    "FastInFront",
    "Ideal",
    "Making",
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
    "cut_phases",
    "first_weights",
    "ideal_outputs",
    "lines_of",
    "longer",
    "looks_at",
    "measured",
    "outputs",
    "phases_of",
    "predicts",
    "prices_of",
    "programmed",
    "score",
    "scores",
    "settled_within",
    "settling",
    "strengths_of",
    "timeline",
    "train_digitally",
]
