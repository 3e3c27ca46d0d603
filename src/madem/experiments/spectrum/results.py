"""What came of a spectrum, as its ``summary.json`` holds it."""

from __future__ import annotations

from typing import Literal

from madem.experiments.running.results import Result


class Candidate(Result):
    """A learning rate and one number of the rule's ``own``, and the accuracies of tuning with them.

    ``ideal``: on ideal chips; ``together``: with all at the mildest level; ``mean`` of both.
    """

    rate: float
    own: float
    ideal: float
    together: float
    mean: float


class Tried(Result):
    """What every candidate of a rule ``read``, accuracy, mean over the chips of the tuning."""

    read: list[float]


class Outcome(Result):
    """What came of one training: accuracy of each chip, and shares.

    ``unsettled``: of the settlings that missed their tolerance; ``written``: of the cells, a step;
    ``array_joules``, ``joules``: a sample of training, of the arrays alone and all in, the first
    programming among it, None where they were not counted.
    """

    accuracy: list[float]
    unsettled: float = 0.0
    written: float = 0.0
    array_joules: float | None = None
    joules: float | None = None


class Fair(Result):
    """What came of a rule under a condition in which it was tuned, on other chips.

    ``rate``, ``own``: of the best candidate there, and what it read of validation data.
    """

    rate: float
    own: float
    tuned: float
    outcome: Outcome


class Trained(Result):
    """What came of one rule on one task, by the keys of the conditions."""

    chosen: Candidate
    candidates: list[Candidate]
    conditions: dict[str, Outcome]
    fair: dict[str, Fair] = {}


class Curve(Result):
    """Accuracy over the levels of one imperfection, mean and standard deviation over chips.

    ``loss``: of accuracy since ideal chips; ``loses_a_point_at``: the severity, in the
    imperfection's unit, None where no level does; ``unsettled``: as of ``Outcome``.
    """

    accuracy: list[float]
    sd: list[float]
    loss: list[float]
    loses_a_point_at: float | None
    unsettled: list[float]


class Learned(Result):
    """One rule on one task: accuracy on ideal chips, and under every imperfection.

    ``learned``: whether it did on ideal chips; what another loses means nothing.
    """

    ideal: float
    ideal_sd: float
    learned: bool = True
    written: float
    chosen: Candidate
    candidates: list[Candidate]
    imperfections: dict[str, Curve]
    fair: dict[str, Fair] = {}


class Contest(Result):
    """The best rule by activity differences against the best by a model, each tuned there.

    At the stated level of an imperfection: by how much accuracy ``ours`` leads, mean over chips,
    with its standard error, and what both take for a sample of training, J, all in.
    """

    imperfection: str
    ours: str
    theirs: str
    lead: float
    standard_error: float
    joules: float
    their_joules: float
    verdict: Literal["wins", "loses", "even"]


class Verdict(Result):
    """Centred differences ``against`` another rule at one level (from 1) of an imperfection.

    ``lead``: by how much accuracy they lose less, mean over chips, with its standard error.
    """

    against: str
    imperfection: str
    level: int
    lead: float
    standard_error: float
    verdict: Literal["holds", "fails", "even"]


class Manner(Result):
    """One way of writing: accuracy and its spread over chips, share of the cells written per step.

    Joules and seconds are of one chip's whole training, without its first programming.
    """

    accuracy: float
    sd: float
    written: float
    write_joules: float
    write_seconds: float
    all_joules: float


class SpectrumResults(Result):
    """A spectrum: rules and verdicts by task, and the ways of writing where these were compared.

    ``samples`` that every rule learned from; ``stated``: the level of the heat map, from 1;
    ``tuning_seed``, ``tuning_chips``: with which seed every rule was tuned, on how many chips.
    """

    experiment: Literal["spectrum"] = "spectrum"
    seed: int
    chips: int
    samples: int
    stated: int
    tuning_seed: int
    tuning_chips: int
    tasks: dict[str, dict[str, Learned]]
    verdicts: dict[str, list[Verdict]]
    contests: dict[str, list[Contest]] = {}
    writes: dict[str, Manner] | None
