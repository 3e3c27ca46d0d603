"""The registry: everything exported can be named, and what is named is checked where it stands."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Annotated, Any, get_type_hints

import jsonschema
import pytest

from madem.errors import InputError
from madem.experiments.config.base import Strict
from madem.experiments.config.names import (
    DEVICES,
    ESTIMATORS,
    JOINTS,
    LAWS,
    RULES,
    SOLVERS,
    SPREAD,
    TABLES,
    WIRES,
    WRITINGS,
)
from madem.experiments.config.naming import SAMPLES, Entry, Part
from madem.learn import OutputMove, RandomSign, centred, springs
from madem.machine import Disturbed, Enduring, single_pulse
from madem.network import Amplified, Box, Conv, Halves, Maximum, Recurrent, Shockley, Wires
from madem.solver import Flow
from tests.experiments.config.test_quantities import numbers


class Example(Strict):
    """A config with a part of every sort."""

    solver: Annotated[Part, SOLVERS] = SOLVERS.part("sweep")
    estimator: Annotated[Part, ESTIMATORS] = ESTIMATORS.part("centred")
    laws: tuple[Annotated[Part, LAWS], ...] = ()
    joint: Annotated[Part, JOINTS] | None = None
    rule: Annotated[Part, RULES] = RULES.part("accumulate")
    writing: Annotated[Part, WRITINGS] = WRITINGS.part("verified")
    wires: Annotated[Part, WIRES] = WIRES.part({})
    spread: Annotated[Part, SPREAD] = SPREAD.part({})
    device: Annotated[Part | str, DEVICES] = "taox-1t1m"


CONV = {"kind": "convolution", "features": 2, "size": 3, "pool": "maximum"}
GOOD: list[tuple[dict[str, Any], Any]] = [
    ({"solver": {"kind": "flow", "step": 0.1}}, Flow(step=0.1)),
    ({"estimator": {"kind": "centred", "beta": {"kind": "output-move", "amount": 0.1},
                    "nudge": "spring"}}, centred(OutputMove(0.1), springs)),
    ({"estimator": "random-sign"}, RandomSign(0.1, SAMPLES["draws"])),
    ({"laws": ["shockley"]}, (Shockley(1e-9),)),
    ({"laws": [{"kind": "box", "low": 0, "high": None}]}, (Box(0.0, float("inf")),)),
    ({"laws": [{"kind": "halves", "laws": ["box", {"kind": "shockley", "saturation": "2 nA"}]}]},
     (Halves((Box(), Shockley(2e-9))),)),
    ({"joint": {"kind": "amplified", "joint": CONV, "voltage_gain": 2, "current_gain": 0.5}},
     Amplified(Conv(1, 2, 3, pool=Maximum()), 2.0, 0.5)),
    ({"writing": {"kind": "disturbed", "share": 0.1,
                  "writing": {"kind": "enduring", "writing": "single-pulse", "cycles": 3}}},
     Disturbed(Enduring(single_pulse, 3), 0.1)),
    ({"wires": {"word": "3 kohm"}}, Wires(word=3000.0)),
]  # fmt: skip

BAD: list[tuple[dict[str, Any], str]] = [
    ({"solver": "newtn"}, "solver: unknown name 'newtn': did you mean 'newton'? (allowed: ander"),
    ({"solver": {"kind": "flwo"}}, "solver: unknown name 'flwo': did you mean 'flow'?"),
    ({"solver": {"kind": ["flow"]}}, "solver: unknown name "),
    ({"solver": {"step": 1}}, "unknown key 'solver.step': (allowed: budget, kind, tolerance)"),
    ({"laws": [{"leak": 1.0}]}, "laws.0.kind: missing (allowed: box, halves"),
    ({"solver": 3}, "solver: must be a name or keys and values, but is 3"),
    ({"solver": {"kind": "flow", "stp": 1}}, "unknown key 'solver.stp': did you mean 'step'? "
     "(allowed: budget, kind, step, tolerance)"),
    ({"solver": {"kind": "flow", "step": -1}}, "solver.step: must be positive, but is -1.0"),
    ({"solver": {"kind": "flow", "step": "1"}}, "solver.step: input should be a valid number"),
    ({"estimator": {"kind": "centred", "beta": -1}}, "estimator.beta: must be positive"),
    ({"estimator": {"kind": "centred", "beta": "output-move"}}, "estimator.beta.amount: missing"),
    ({"estimator": {"kind": "centred", "beta": {"kind": "move"}}},
     "estimator.beta: unknown name 'move': did you mean 'output-move'?"),
    ({"estimator": {"kind": "centred", "nudge": "sprin"}}, "estimator.nudge: unknown name 'sprin'"),
    ({"estimator": "one-sided"}, "estimator: unknown name 'one-sided'"),
    ({"laws": [{"kind": "shockley", "saturation": 3}]}, "laws.0.saturation: '3' needs a unit"),
    ({"laws": [{"kind": "shockley", "saturation": "3 V"}]}, "laws.0.saturation: '3 V' needs a u"),
    ({"laws": [{"kind": "shockley", "loaded": False}]}, "unknown key 'laws.0.loaded': (allowed: "),
    ({"laws": [{"kind": "halves", "laws": ["box", {"kind": "box", "low": 1}]}]},
     "laws.0.laws.1.low: must be below high, but is 1.0"),
    ({"laws": [{"kind": "halves", "laws": ["box", {"kind": "box", "lo": 1}]}]},
     "unknown key 'laws.0.laws.1.lo': did you mean 'low'? (allowed: high, kind, leak, low)"),
    ({"joint": {"kind": "amplified", "joint": CONV | {"pool": "max"}, "voltage_gain": 2.0,
                "current_gain": 0.5}}, "joint.joint.pool: unknown name 'max': did you mean 'max"),
    ({"joint": {"kind": "amplified", "joint": CONV, "voltage_gain": "2", "current_gain": 0.5}},
     "joint.voltage_gain: input should be a valid number, but is '2'"),
    ({"rule": {"kind": "adam", "epsilon": 0}}, "rule.epsilon: must be positive, but is 0.0"),
    ({"rule": {"kind": "accumulate", "thresholds": [1.0]}}, "unknown key 'rule.thresholds'"),
    ({"writing": "pulses"}, "writing: unknown name 'pulses': did you mean 'single-pulse'?"),
    ({"writing": "train"}, "writing.most: missing"),
    ({"wires": {"word": "0 ohm"}}, "wires.word: must be a positive, finite resistance"),
    ({"wires": {"kind": "", "word": "1 ohm"}}, "unknown key 'wires.kind'"),
    ({"spread": {"line_gai": 0.1}}, "unknown key 'spread.line_gai': did you mean 'line_gain'?"),
    ({"device": {"kind": "preset", "name": "taox"}}, "device: unknown preset 'taox'"),
    ({"device": {"kind": "cell", "high": "150 uS"}}, "device.read_voltage: missing"),
]  # fmt: skip


def built(value: Any) -> Any:
    """Return what a field of a config stands for."""
    if isinstance(value, tuple):
        return tuple(built(each) for each in value)
    return value.make(SAMPLES) if isinstance(value, Part) else value


@pytest.mark.parametrize(("values", "wanted"), GOOD)
def test_what_is_named_is_built(values: dict[str, Any], wanted: Any) -> None:
    config = Example.of(values)
    assert built(getattr(config, next(iter(values)))) == wanted
    held = config.model_dump(mode="json")
    assert Example.of(held) == config
    assert Example.of(held).model_dump(mode="json") == held


@pytest.mark.parametrize(("values", "line"), BAD)
def test_what_cannot_be_is_refused_where_it_stands(values: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        Example.of(values)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def kinds() -> Iterator[tuple[str, str]]:
    for what, table in TABLES.items():
        yield from ((what, kind) for kind in table.models)


@pytest.mark.parametrize(("what", "kind"), list(kinds()))
def test_a_name_has_the_defaults_of_its_maker(what: str, kind: str) -> None:
    table = TABLES[what]
    model = table.models[kind]
    needed = [key for key, each in model.model_fields.items() if each.is_required()]
    if set(needed) - {"kind"}:
        with pytest.raises(InputError, match=f"{needed[-1]}|{needed[1]}"):
            table.part({"kind": kind})
        return
    part = table.part({"kind": kind} if kind else {})
    assert table.part(part.model_dump(mode="json")) == part
    entry = type(part).entry
    if set(entry.given) <= set(SAMPLES) and not entry.ready and what not in ("store", "task"):
        own = {k: v for k, v in entry.defaults.items() if k != "saturation"}
        own |= {"saturation": 1e-9} if "saturation" in entry.defaults else {}
        given = {k: SAMPLES[k] for k in entry.given}
        assert part.make(SAMPLES) == entry.maker(**given, **own)


def test_a_maker_refuses_what_it_was_given_in_the_words_of_the_config() -> None:
    part = Example.of({"joint": {"kind": "recurrent", "layer": 1}}).joint
    assert part is not None
    assert part.make({"units": 3}, "network.joint") == Recurrent(3, 1)
    with pytest.raises(InputError, match=r"^joint\.mirror: must be a positive gain"):
        Example.of({"joint": {"kind": "resistive", "ends": [1, 2], "mirror": 2.0}})


def test_the_schema_of_a_part() -> None:
    schema = Example.model_json_schema()
    found = list(numbers(schema))
    assert found
    for path, each in found:
        assert {"minimum", "exclusiveMinimum"} & set(each), path
        assert {"maximum", "exclusiveMaximum"} & set(each), path
    flow = schema["$defs"]["solver_flow"]
    assert flow["properties"]["kind"]["const"] == "flow"
    assert flow["properties"]["step"]["default"] == 0.5
    assert flow["description"].startswith("Gradient flow: every node relaxes")
    assert flow["required"] == ["kind"]
    solver = schema["properties"]["solver"]
    assert solver["oneOf"][-1]["enum"] == list(SOLVERS.entries)
    assert solver["default"]["kind"] == "sweep"
    share = schema["$defs"]["writing_disturbed"]["properties"]["share"]
    assert share["type"] == "number"
    table = TABLES["task"].models["csv"].model_json_schema()
    assert table["properties"]["target"]["description"] == "the column to predict"
    assert table["properties"]["predict"]["enum"] == ["classes", "numbers"]
    assert "halves" not in schema["properties"]["laws"]["items"]["oneOf"][-1]["enum"]


def test_the_schema_agrees_with_what_is_accepted() -> None:
    check = jsonschema.Draft202012Validator(Example.model_json_schema())
    for values, _ in GOOD:
        assert check.is_valid(values), values
        assert check.is_valid(Example.of(values).model_dump(mode="json"))
    for values, line in BAD:  # what a maker refuses, or one unit for another, no schema says
        said = any(word in line for word in ("unknown", "missing", "a name", "input should"))
        if said and "preset" not in line:
            assert not check.is_valid(values), values


ABSTRACT = "a protocol"
RESULT = "what something returned"
FUNCTION = "computes; builds no part of a network, machine or training"
OF_A_COUPLING = "made by a joint from its parameters"
WHOLE = "what a config as a whole describes"
CODE = "holds a function of the user's, which a config cannot write"
UNNAMED: dict[str, str] = {
    "Timed": "the keys machine.phase and machine.nudged_phase",
    "Cost": ABSTRACT, "Coupling": ABSTRACT, "Joint": ABSTRACT, "Law": ABSTRACT, "Nudge": ABSTRACT,
    "Solver": ABSTRACT, "Estimator": ABSTRACT, "Machine": ABSTRACT, "Rule": ABSTRACT,
    "Store": ABSTRACT, "Writing": ABSTRACT,
    "Task": ABSTRACT,
    "Move": RESULT, "Problem": RESULT, "Reading": RESULT, "Rest": RESULT, "Gradient": RESULT,
    "Agreement": RESULT, "Settled": RESULT, "Observed": RESULT, "Written": RESULT,
    "Placement": RESULT,
    "Static": RESULT, "Preset": RESULT, "Lines": RESULT, "SWITCHES": RESULT,
    "Current": RESULT, "Spring": RESULT, "Hold": RESULT,
    "Amplifier": OF_A_COUPLING,
    "Matrix": OF_A_COUPLING,
    "Resistors": OF_A_COUPLING, "Digitised": OF_A_COUPLING,
    "Lopsided": OF_A_COUPLING, "Converter": OF_A_COUPLING, "Partial": OF_A_COUPLING,
    "Wired": OF_A_COUPLING, "Custom": CODE, "Energy": CODE,
    "Layer": WHOLE, "Network": WHOLE, "Simulated": WHOLE, "CircuitMachine": WHOLE, "Piped": WHOLE,
    "Equilibrium": WHOLE, "equilibrium": WHOLE,
    "Exact": WHOLE, "SignedPair": WHOLE, "FastSlow": WHOLE, "Asked": WHOLE,
    **dict.fromkeys((
        "agreements", "cells_of", "compare", "conjugate_gradients", "draw", "draw_lines",
        "drift", "drops", "effective", "lay_on", "lay_out", "names", "place", "preset", "program",
        "pulse", "read", "settled_cost", "turned", "without",
    ), FUNCTION),
}  # fmt: skip
"""Why a config cannot name what the library exports; of circuits, nothing can be: they are built
from a network."""


def test_every_export_can_be_named() -> None:
    named = [maker for table in TABLES.values() for maker in table.makers.values()]
    made_by = (e for t in TABLES.values() for e in t.entries.values())
    made_by = (e.maker for e in made_by if isinstance(e, Entry) and not e.ready)
    named += [get_type_hints(m)["return"] for m in made_by if inspect.isfunction(m)]
    exported = {}
    for room in ("network", "solver", "learn", "machine", "device", "data"):
        module = importlib.import_module(f"madem.{room}")
        exported |= {name: getattr(module, name) for name in getattr(module, "__all__", ())}
    for name, value in exported.items():
        assert (value in named) != (name in UNNAMED), f"{name}: a name in a table, or a reason"
    assert set(UNNAMED) - {"Task"} <= set(exported), "reasons for what is exported no more"
