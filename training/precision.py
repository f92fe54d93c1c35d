"""Precision of each part of a training step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from training.attention import plain_attention


@contextmanager
def fast_precision(device: torch.device) -> Iterator[None]:
    """Compute in bfloat16 if the device supports it natively; other CPUs would only emulate it."""
    if device.type == "cuda":
        with torch.autocast("cuda", torch.bfloat16):
            yield
    elif torch.cpu._is_avx512_bf16_supported():
        with torch.autocast("cpu", torch.bfloat16), plain_attention():
            yield
    else:
        yield


def keep_float32(module: nn.Module) -> list[RemovableHandle]:
    """Make ``module`` compute in float32 within :func:`fast_precision`, until the handles are removed.

    Depthwise convolutions need it: on a CPU their backward pass in bfloat16 takes ten times as long.

    Args:
        module: Takes and returns one tensor.
    """
    exact = torch.autocast("cpu", enabled=False)

    def before(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        exact.__enter__()
        return tuple(part.float() for part in inputs)

    def after(_module: nn.Module, _inputs: object, _output: object) -> None:
        exact.__exit__(None, None, None)

    return [module.register_forward_pre_hook(before), module.register_forward_hook(after, always_call=True)]
