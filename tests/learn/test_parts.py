"""Layers are known by their exact type: whatever may compute something else is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from madem.errors import InputError
from madem.learn import equilibrium
from madem.learn.parts import parts_of


class Scaled(nn.Linear):
    """A linear layer of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 10 * super().forward(x)


class Half(nn.ReLU):
    """An activation of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


class Own(nn.Module):
    """No Sequential, though it holds a Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 2)


class Backwards(nn.Sequential):
    """A Sequential that goes the other way."""

    def forward(self, x: Tensor) -> Tensor:
        for module in reversed(list(self)):
            x = module(x)
        return x


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))


Change = Callable[[nn.Sequential], object]


def tied(model: nn.Sequential) -> None:
    model[2].weight = model[0].weight


def same_memory(model: nn.Sequential) -> None:
    model[2].weight = nn.Parameter(model[0].weight.detach().T)


def replaced(model: nn.Sequential) -> None:
    model[0].forward = lambda x: x


def unparametered(model: nn.Sequential) -> None:
    weight = model[0].weight.detach()
    del model[0].weight
    model[0].weight = weight


def reshaped(model: nn.Sequential) -> None:
    model[0].weight = nn.Parameter(torch.zeros(3, 4))


def not_finite(model: nn.Sequential) -> None:
    model[0].bias.data[1] = torch.inf


def watched(model: nn.Sequential) -> None:
    model[0].weight.register_hook(lambda grad: 2 * grad)


CHANGED: dict[str, Change] = {
    r"model\[0\] \(Linear\) .* has a hook": lambda m: m[0].register_forward_hook(lambda *_: None),
    r"model\[1\] \(ReLU\) .* has a hook": lambda m: m[1].register_forward_pre_hook(lambda *_: None),
    r"model\[2\] \(Linear\) .* has a hook": lambda m: m[2].register_full_backward_hook(
        lambda *_: None
    ),
    r"model \(Sequential\) .* has a hook": lambda m: m.register_forward_hook(lambda *_: None),
    r"weight has a hook": watched,
    r"model\[2\] .* its weight is model\[0\].weight too": tied,
    r"model\[2\] .* its weight is model\[0\].weight too; an": same_memory,
    "forward was replaced": replaced,
    "its weight is no parameter of its own": unparametered,
    r"its weight is \(3, 4\), but it says \(4, 4\)": reshaped,
    "its bias holds NaN or infinity": not_finite,
    "its weight is parametrized": lambda m: parametrizations.weight_norm(m[0]),
    "its weight is parametrized .*weight_norm": lambda m: parametrizations.spectral_norm(m[2]),
    "its weight is parametrized .*remove": lambda m: parametrizations.orthogonal(m[2]),
    "L1Unstructured computes its weight at every pass; remove": lambda m: prune.l1_unstructured(  # type: ignore[no-untyped-call]
        m[0], "weight", 0.5
    ),
    "SpectralNorm computes its weight": lambda m: nn.utils.spectral_norm(m[0]),
    "it holds more": lambda m: m[0].register_buffer("more", torch.zeros(1)),
    "it holds gain": lambda m: m[0].register_parameter("gain", nn.Parameter(torch.zeros(1))),
    "on the meta device": lambda m: m.to("meta"),
    "it must be a plain Parameter of float64": lambda m: m.to(torch.complex64),
    "model must have one dtype and device": lambda m: m[2].double(),
    "is a Linear of its own": lambda m: m.append(Scaled(4, 4)),
    "is a ReLU of its own": lambda m: m.append(Half()),
    "is a Sequential of its own": lambda m: m.append(Backwards(nn.Linear(4, 4))),
    r"model\[3\] \(Own\) .* no energy for it here": lambda m: m.append(Own()),
    "is lazy": lambda m: m.append(nn.LazyLinear(3)),
    r"model\[3\] \(Equilibrium\) .* it is one already": lambda m: m.append(equilibrium(mlp(), 4)),
    r"model\[3\] \(Linear\) .* its weight is model\[0\].weight too": lambda m: m.append(m[0]),
    r"model\[3\]\[0\] \(Linear\) .* its weight is model\[0\].weight": lambda m: m.append(
        nn.Sequential(m[0])
    ),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Complex modules")
@pytest.mark.parametrize("reason", CHANGED)
def test_what_may_compute_something_else_is_refused_in_one_line(reason: str) -> None:
    model = mlp()
    CHANGED[reason](model)
    with pytest.raises(InputError, match=reason) as caught:
        equilibrium(model, 4)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


WRONG = {
    "takes nn.Sequential, but is Own": Own(),
    r"but is Backwards; where its forward .* nn.Sequential\(\*model\)": Backwards(nn.Linear(4, 3)),
    "takes nn.Sequential, but is Linear": nn.Linear(4, 3),
    "takes nn.Sequential, but is ModuleList": nn.ModuleList([nn.Linear(4, 3)]),
    "nothing to convert: no Linear, no Conv2d, but nothing": nn.Sequential(),
    "nothing to convert: no Linear, no Conv2d, but ReLU, Tanh": nn.Sequential(nn.ReLU(), nn.Tanh()),
    "is an Equilibrium already": equilibrium(mlp(), 4),
}


@pytest.mark.parametrize("reason", WRONG)
def test_a_model_that_is_no_chain_of_layers_is_refused_in_one_line(reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        equilibrium(WRONG[reason], 4)
    assert "\n" not in str(caught.value)


def test_one_activation_may_stand_in_several_places_and_copies_are_no_ties() -> None:
    act, layer = nn.ReLU(), nn.Linear(4, 4)
    model = nn.Sequential(layer, act, copy.deepcopy(layer), act, nn.Linear(4, 2))
    assert len(list(equilibrium(model, 4).parameters())) == 6


def test_what_is_materialised_or_whose_pruning_was_removed_is_as_any_other() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 2))
    model(torch.zeros(1, 4))
    prune.l1_unstructured(model[0], "weight", 0.5)  # type: ignore[no-untyped-call]
    prune.remove(model[0], "weight")  # type: ignore[no-untyped-call]
    parametrizations.weight_norm(model[2])
    nn.utils.parametrize.remove_parametrizations(model[2], "weight")
    x = torch.rand(3, 4)
    torch.testing.assert_close(equilibrium(model, 4, readout=True)(x), model(x))
    assert [part.place for part in parts_of(model)] == ["model[0]", "model[1]", "model[2]"]
