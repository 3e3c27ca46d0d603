"""The C++ kernels, where the package was built with a compiler."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor


def _built() -> Any:
    try:
        return importlib.import_module("madem._native")
    except ImportError:
        return None


kernels: Any = _built()
"""The extension, None where there was no compiler: all that it does is also done in PyTorch."""


def listening(*parts: Tensor) -> bool:
    """Return whether autograd listens to any of these tensors."""
    return torch.is_grad_enabled() and any(part.requires_grad for part in parts)


def takes(*parts: Tensor) -> bool:
    """Return whether there are kernels, they take these tensors, and autograd listens to none."""
    types = (torch.float32, torch.float64)
    fit = all(part.device.type == "cpu" and part.dtype in types for part in parts)
    return kernels is not None and fit and not listening(*parts)
