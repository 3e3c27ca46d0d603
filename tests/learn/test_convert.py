"""From a Sequential to an equilibrium: the same function where it must be, else refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from madem.errors import InputError
from madem.learn import centred, equilibrium
from madem.network import Box, Readout
from madem.solver import Sweep

Linear, Conv, ReLU, Flatten = nn.Linear, nn.Conv2d, nn.ReLU, nn.Flatten


def image(*parts: nn.Module, channels: int = 4, pixels: int = 64) -> nn.Sequential:
    """A convolution of 1 x 8 x 8, ``parts``, and a last layer."""
    return nn.Sequential(
        Conv(1, channels, 3, padding=1), *parts, Flatten(), Linear(channels * pixels, 3)
    )


SAME = {
    "relu": (nn.Sequential(Linear(6, 5), ReLU(), Linear(5, 3)), 6),
    "relu6": (nn.Sequential(Linear(6, 5), nn.ReLU6(inplace=True), Linear(5, 3)), 6),
    "hardtanh": (nn.Sequential(Linear(6, 5), nn.Hardtanh(-0.1, 0.3), Linear(5, 3)), 6),
    "tanh": (nn.Sequential(Linear(6, 5), nn.Tanh(), Linear(5, 3)), 6),
    "no bias": (nn.Sequential(Linear(6, 5, bias=False), ReLU(), Linear(5, 3, bias=False)), 6),
    "one layer": (nn.Sequential(Linear(6, 3)), 6),
    "nothing in between": (nn.Sequential(Linear(6, 5), Linear(5, 3)), 6),
    "nested": (
        nn.Sequential(
            nn.Sequential(), nn.Sequential(nn.Sequential(Linear(6, 5), nn.Identity()), ReLU()),
            nn.Sequential(nn.Sequential(nn.Sequential(Linear(5, 3)))),
        ),
        6,
    ),
    "identities": (
        nn.Sequential(nn.Identity(), Linear(6, 5), nn.Identity(), ReLU(), nn.Identity(),
                      Linear(5, 3), nn.Identity()),
        6,
    ),
    "flattened first": (nn.Sequential(Flatten(), Linear(64, 5), ReLU(), Linear(5, 3)), (1, 8, 8)),
    "flattened by name": (nn.Sequential(Flatten(-3), Linear(64, 5), ReLU(), Linear(5, 3)),
                          [1, 8, 8]),
    "flattened twice": (nn.Sequential(Flatten(1, 3), Flatten(), Linear(64, 3)), (1, 8, 8)),
    "padding": (image(ReLU()), (1, 8, 8)),
    "same": (nn.Sequential(Conv(1, 4, 3, padding="same"), ReLU(), Flatten(), Linear(256, 3)),
             (1, 8, 8)),
    "valid": (nn.Sequential(Conv(1, 4, 3, padding="valid"), ReLU(), Flatten(), Linear(144, 3)),
              (1, 8, 8)),
    "stride": (nn.Sequential(Conv(1, 4, 2, stride=2), nn.Tanh(), Flatten(), Linear(64, 3)),
               (1, 8, 8)),
    "activation after flatten": (nn.Sequential(Conv(1, 4, 3), Flatten(), ReLU(), Linear(144, 3)),
                                 (1, 8, 8)),
    "maximum": (image(ReLU(), nn.MaxPool2d(2), pixels=16), (1, 8, 8)),
    "maximum before": (image(nn.MaxPool2d((2, 2), 2), ReLU(), pixels=16), (1, 8, 8)),
    "average": (image(nn.AvgPool2d(2, divisor_override=4), ReLU(), pixels=16), (1, 8, 8)),
    "pixels left over": (
        nn.Sequential(Conv(1, 4, 2), nn.AvgPool2d(2), ReLU(), Flatten(), Linear(36, 3)), (1, 8, 8)
    ),
    "ceiling of what fits": (image(nn.MaxPool2d(2, ceil_mode=True), pixels=16), (1, 8, 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_with_a_readout_two_layers_compute_what_the_model_does(name: str) -> None:
    model, inputs = SAME[name]
    x = torch.rand(3, *((inputs,) if isinstance(inputs, int) else inputs), dtype=torch.float64)
    module = equilibrium(model.double(), inputs, readout=True, solver=Sweep(1e-12, 100))
    torch.testing.assert_close(module(x), model(x), rtol=1e-10, atol=1e-12)
    module(x).square().sum().backward()
    model.zero_grad()
    model(x).square().sum().backward()
    for ours, theirs in zip(module.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-10)
        assert ours.data_ptr() != theirs.data_ptr()


def test_a_sequential_becomes_an_equilibrium_of_the_same_shape() -> None:
    model = nn.Sequential(
        Conv(1, 4, 3, padding=1), ReLU(), nn.MaxPool2d(2), Flatten(),
        Linear(64, 8), nn.Hardtanh(0.0, 1.0), Linear(8, 3),
    )  # fmt: skip
    module = equilibrium(model, (1, 8, 8), solver=Sweep(1e-4, 1000))
    assert module.network.state_shapes == ((1, 8, 8), (4, 4, 4), (8,), (3,))
    assert [layer.law for layer in module.network.layers][1] == Box(0.0, 1.0)
    assert module(torch.rand(2, 1, 8, 8)).shape == (2, 3)
    deep = equilibrium(model, (1, 8, 8), centred(0.1), readout=True)
    assert isinstance(deep.network.layers[-1].law, Readout)
    assert deep.estimator == centred(0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtype_frozen_parameters_and_mode_are_the_models(dtype: torch.dtype) -> None:
    model = nn.Sequential(Linear(6, 5), ReLU(), Linear(5, 3)).to(dtype).eval()
    model[0].weight.requires_grad_(False)
    module = equilibrium(model, 6)
    assert not module.training
    assert [p.requires_grad for p in module.parameters()] == [False, True, True, True]
    x = torch.rand(4, 6, dtype=dtype)
    y = module(x)
    y.float().square().sum().backward()
    assert y.dtype == dtype
    assert module.metrics["unsettled"] == 0
    assert [p.grad is None for p in module.parameters()] == [True, False, False, False]
    assert all(p.dtype == dtype for p in module.parameters())
    assert equilibrium(model.train(), 6).training


def test_images_come_out_as_images() -> None:
    model = nn.Sequential(Conv(1, 2, 3), ReLU(), Conv(2, 2, 3))
    module = equilibrium(model, (1, 8, 8), readout=True)
    x = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-5)


REFUSED = {
    "depends on the other samples": nn.Sequential(Linear(4, 3), nn.BatchNorm1d(3)),
    "not monotonic": nn.Sequential(Linear(4, 3), nn.GELU()),
    "draws new units": nn.Sequential(Linear(4, 3), nn.Dropout()),
    "no energy for it here": nn.Sequential(Linear(4, 3), nn.Bilinear(3, 3, 2)),
    "slope is 1/6": nn.Sequential(Linear(4, 3), nn.Hardsigmoid(), Linear(3, 2)),
    "takes 5 inputs": nn.Sequential(Linear(4, 3), ReLU(), Linear(5, 2)),
    "has no image": nn.Sequential(Linear(4, 4), nn.MaxPool2d(2)),
    "needs an image": nn.Sequential(Conv(1, 2, 3)),
    r"model\[2\] \(ReLU\) .* an activation follows one": nn.Sequential(
        Linear(4, 3), ReLU(), ReLU()
    ),
    r"model\[0\] \(ReLU\) .* an activation follows one": nn.Sequential(ReLU(), Linear(4, 3)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_has_no_energy_is_refused_with_the_reason(reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        equilibrium(REFUSED[reason], 4)


IMAGES = {
    "padding_mode must be zeros, but is circular": nn.Sequential(
        Conv(1, 4, 3, padding=1, padding_mode="circular"), ReLU(), Flatten(), Linear(256, 3)
    ),
    "padding_mode must be zeros, but is reflect": nn.Sequential(
        Conv(1, 4, 3, padding=1, padding_mode="reflect"), ReLU(), Flatten(), Linear(256, 3)
    ),
    "groups must be 1, but is 2": nn.Sequential(Conv(2, 4, 3, groups=2)),
    r"dilation must be \(1, 1\), but is \(2, 2\)": nn.Sequential(Conv(1, 4, 3, dilation=2)),
    "must be square": nn.Sequential(Conv(1, 4, (3, 5))),
    "pads unevenly": nn.Sequential(Conv(1, 4, 4, padding="same")),
    "kernel of 9 is larger than the image": nn.Sequential(Conv(1, 4, 9)),
    "takes 2 channels": nn.Sequential(Conv(2, 4, 3)),
    "divisor_override must be None, but is 1": image(nn.AvgPool2d(2, divisor_override=1)),
    "must come before its activation": image(ReLU(), nn.AvgPool2d(2)),
    "without ceil_mode": nn.Sequential(Conv(1, 4, 2), nn.MaxPool2d(2, ceil_mode=True)),
    "neither return_indices nor a dilation": image(nn.MaxPool2d(2, dilation=2)),
    "neither return_indices": image(nn.MaxPool2d(2, return_indices=True)),
    "without overlap or padding": image(nn.MaxPool2d(3, 2, 1)),
    "square, without overlap": image(nn.MaxPool2d((2, 1))),
    "windows of 9 must lie within": image(nn.MaxPool2d(9)),
    "has no image of one Conv2d": image(nn.MaxPool2d(2), nn.MaxPool2d(2)),
    r"put nn.Flatten\(\) before it": nn.Sequential(Conv(1, 4, 3), ReLU(), Linear(6, 3)),
    "axes 2 to -1 .* not all of each sample": nn.Sequential(Conv(1, 4, 3), Flatten(2)),
    "axes 0 to -1 .* not all of each sample": nn.Sequential(Conv(1, 4, 3), Flatten(0)),
    "axes 5 to -1 .* not all of each sample": nn.Sequential(Conv(1, 4, 3), Flatten(5)),
    "outputs stay an image": nn.Sequential(Conv(1, 4, 3), Flatten()),
}


@pytest.mark.parametrize("reason", IMAGES)
def test_what_would_become_another_model_of_images_is_refused(reason: str) -> None:
    inputs = (2, 8, 8) if "groups" in reason else (1, 8, 8)
    with pytest.raises(InputError, match=reason) as caught:
        equilibrium(IMAGES[reason], inputs)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "inputs", [0, -4, True, (4, 4), (), (1, 0, 8), (1, 8.0, 8), [4, "4", 4]], ids=str
)
def test_a_shape_of_no_sample_is_refused(inputs: object) -> None:
    with pytest.raises(InputError, match="inputs must be the number of inputs of one sample or"):
        equilibrium(nn.Sequential(Linear(4, 3)), inputs)  # type: ignore[arg-type]


def test_a_readout_behind_an_activation_is_refused() -> None:
    with pytest.raises(InputError, match="with readout nothing may follow the last layer"):
        equilibrium(nn.Sequential(Linear(4, 3), ReLU()), 4, readout=True)
