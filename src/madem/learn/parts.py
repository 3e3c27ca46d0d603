"""The layers of a model, each known by its exact type, or refused with its place and the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized

from madem.errors import InputError
from madem.learn.module import Equilibrium

COUPLED = (nn.Linear, nn.Conv2d)
POOLING = (nn.MaxPool2d, nn.AvgPool2d)
ACTIVE: tuple[type[nn.Module], ...] = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Tanh)
KNOWN = (*COUPLED, *POOLING, *ACTIVE, nn.Flatten, nn.Identity, nn.Sequential)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

WHY_NOT: dict[type[nn.Module], str] = {
    nn.BatchNorm1d: "its output depends on the other samples, which no energy of one sample holds",
    nn.BatchNorm2d: "its output depends on the other samples, which no energy of one sample holds",
    nn.LayerNorm: "it divides by a norm of the whole layer, which no passive node does",
    nn.Dropout: "it draws new units at every pass; use the noise of a device instead",
    nn.GELU: "it is not monotonic, so no energy of a node has it as its rest",
    nn.SiLU: "it is not monotonic, so no energy of a node has it as its rest",
    nn.Softmax: "leave it to the loss: a softmax is a readout outside the energy",
    nn.LogSoftmax: "leave it to the loss: a softmax is a readout outside the energy",
    nn.Hardsigmoid: "its slope is 1/6; nn.Hardtanh(0.0, 1.0) is the same box with a slope of 1",
}


@dataclass(frozen=True)
class Part:
    """A module and its ``place`` in the model, as ``model[0][1]``."""

    place: str
    module: nn.Module

    def refused(self, reason: str) -> InputError:
        """Return the error that says why the module cannot be converted."""
        kind = type(self.module).__name__
        return InputError(f"{self.place} ({kind}) cannot be part of an equilibrium: {reason}")


def parts_of(model: nn.Module) -> list[Part]:
    """Return the modules of a ``Sequential`` one after another, nested ones and all.

    >>> inner = nn.Sequential(nn.Linear(2, 2), nn.Identity())
    >>> [part.place for part in parts_of(nn.Sequential(inner, nn.ReLU()))]
    ['model[0][0]', 'model[1]']
    """
    if isinstance(model, Equilibrium):
        raise InputError("model is an Equilibrium already: there is nothing to convert")
    if type(model) is not nn.Sequential:
        own = isinstance(model, nn.Sequential)
        hint = "; where its forward is Sequential's, give nn.Sequential(*model)" if own else ""
        kind = model.__name__ if isinstance(model, type) else type(model).__name__
        raise InputError(f"model: equilibrium() takes nn.Sequential, but is {kind[:80]}{hint}")
    parts = list(_leaves(Part("model", model)))
    if not any(type(part.module) in COUPLED for part in parts):
        held = ", ".join(type(part.module).__name__ for part in parts)[:80] or "nothing"
        raise InputError(f"model has nothing to convert: no Linear, no Conv2d, but {held}")
    return parts


def _leaves(part: Part) -> Iterator[Part]:
    """Yield the parts of a module that do something, each checked."""
    _check_plain(part)
    kind = type(part.module)
    if kind is nn.Sequential:
        for name, module in part.module._modules.items():
            if module is None:
                raise InputError(f"{part.place}[{name}] is None, which is no module")
            yield from _leaves(Part(f"{part.place}[{name}]", module))
    elif kind is not nn.Identity:
        yield part


def _check_plain(part: Part) -> None:
    """Refuse a module that does, or may do, something else than its exact type says."""
    module = part.module
    if isinstance(module, Equilibrium):
        raise part.refused("it is one already; leave it beside the others in a Sequential")
    if is_parametrized(module):
        names = ", ".join(module.parametrizations)  # type: ignore[arg-type]
        raise part.refused(
            f"its {names} is parametrized (weight_norm, spectral_norm, ...); call "
            "parametrize.remove_parametrizations first"
        )
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        raise part.refused("it is lazy; give the model one batch first")
    if type(module) not in KNOWN:
        base = next((kind for kind in KNOWN if isinstance(module, kind)), None)
        reason = WHY_NOT.get(type(module), "there is no energy for it here")
        if base is not None and type(module) not in WHY_NOT:
            reason = f"it is a {base.__name__} of its own, which may compute something else"
        raise part.refused(reason)
    if "forward" in vars(module):
        raise part.refused("its forward was replaced")
    hooks = [
        hook for kind in ("forward", "forward_pre", "backward", "backward_pre")
        for hook in getattr(module, f"_{kind}_hooks").values()
    ]  # fmt: skip
    if hooks:
        name = type(hooks[0]).__name__ if hasattr(hooks[0], "__dict__") else "a function"
        if type(hooks[0]).__module__.startswith("torch.nn.utils."):
            raise part.refused(
                f"{name} computes its weight at every pass; remove it first (prune.remove, "
                "remove_weight_norm, ...)"
            )
        raise part.refused("it has a hook, which may compute something else; remove it first")


def parameters_of(parts: Sequence[Part]) -> list[nn.Parameter]:
    """Return weights and biases of the coupled layers, in order.

    Raises ``InputError`` where one is shared, computed, or no plain finite number; where they
    differ in dtype or device.
    """
    found: list[nn.Parameter] = []
    first: dict[int, str] = {}
    for part in parts:
        if type(part.module) not in COUPLED:
            continue
        for name, p in _own(part):
            place = f"{part.place}.{name}"
            _check_numbers(part, name, p)
            if p.dtype != (like := found[0] if found else p).dtype or p.device != like.device:
                raise InputError(
                    f"model must have one dtype and device, but begins with {like.dtype} on "
                    f"{like.device}, and {place} is {p.dtype} on {p.device}"
                )
            if (shared := first.setdefault(p.data_ptr(), place)) != place:
                raise part.refused(f"its {name} is {shared} too; an equilibrium ties no parameters")
            found.append(p)
    return found


def _own(part: Part) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield weight and bias of a layer that holds them as one expects."""
    module = part.module
    held = {name: p for name, p in module._parameters.items() if p is not None}
    others = [*(held.keys() - {"weight", "bias"}), *module._buffers, *module._modules]
    if others:
        raise part.refused(f"it holds {', '.join(sorted(others))[:80]}, which would be lost")
    if isinstance(module, nn.Conv2d):
        size = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
    else:
        assert isinstance(module, nn.Linear)
        size = (module.out_features, module.in_features)
    wanted = {"weight": size, "bias": size[:1]}
    for name, shape in wanted.items():
        p = held.get(name)
        if p is None:
            if name == "weight" or module.__dict__.get(name) is not None:
                raise part.refused(f"its {name} is no parameter of its own")
            continue
        if tuple(p.shape) != shape:
            raise part.refused(f"its {name} is {tuple(p.shape)}, but it says {shape}")
        yield name, p


def _check_numbers(part: Part, name: str, p: nn.Parameter) -> None:
    """Refuse a parameter that is no plain tensor of finite real numbers."""
    if p.is_meta:
        raise part.refused("it is on the meta device, without numbers; give it some first")
    if type(p) is not nn.Parameter or p.layout != torch.strided or p.dtype not in DTYPES:
        raise part.refused(
            f"its {name} is {p.dtype}, a {type(p).__name__} of {p.layout}; it must be a plain "
            "Parameter of float64, float32, bfloat16 or float16"
        )
    if p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None):
        raise part.refused(f"its {name} has a hook, which would be lost; remove it first")
    if not p.numel():
        raise part.refused(f"its {name} is empty, {tuple(p.shape)}")
    if not bool(torch.isfinite(p).all()):
        raise part.refused(f"its {name} holds NaN or infinity")
