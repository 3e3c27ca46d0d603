"""Another device without one: tensors that live "far away", and must not meet those that do not.

Every operation is done on the CPU, so that values are real; a tensor of the far device and one of
the CPU in one operation raise, numbers without axes aside, as they would on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

FAR = torch.device("meta")
"""A type of device that needs no hardware; its tensors here are ``Away``, and hold values."""


class Away(Tensor):
    """A tensor on the far device; ``real`` holds its values."""

    real_: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> Away:
        made: Away = torch.Tensor._make_wrapper_subclass(
            cls, real.shape, strides=real.stride(), dtype=real.dtype, device=FAR
        )
        made.real_ = real
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        return _run(func, args, kwargs or {})


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        return _run(func, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """``torch.tensor`` makes its tensor before operations begin."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = dict(kwargs or {})
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu") == FAR:
            kwargs["device"] = None
            return Away(func(*args, **kwargs))
        return func(*args, **kwargs)


@contextmanager
def elsewhere() -> Iterator[None]:
    """While it lasts, there is a far device."""
    with _Literals(), _Operations():
        yield


def near(value: Any) -> Any:
    """Return the values of tensors of the far device."""
    return tree_map(lambda part: part.real_ if isinstance(part, Away) else part, value)


def _run(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    parts, _ = tree_flatten((args, kwargs))
    away = any(isinstance(part, Away) for part in parts)
    strange = [p for p in parts if isinstance(p, Tensor) and not isinstance(p, Away) and p.dim()]
    if away and strange and "copy" not in str(func):
        raise RuntimeError(f"two devices in {func}")
    device = kwargs.get("device")
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
        away = torch.device(device) == FAR
    out = func(*near(args), **near(kwargs))
    if not away:
        return out
    return tree_map(lambda part: Away(part) if type(part) is Tensor else part, out)
