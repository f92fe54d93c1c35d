"""Chooses the engine that runs the model from its settings."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from functools import partial

import torch

from streamseg.config.schema import ModelConfig
from streamseg.errors import ModelError
from streamseg.tracker.compiled.code_cache import use_persistent_cache
from streamseg.tracker.compiled.compile import CompiledEngine, choose_compile
from streamseg.tracker.device import accelerator
from streamseg.tracker.engine import Engine
from streamseg.tracker.sam2.step import TrackStep

log = logging.getLogger(__name__)

MakeEngine = Callable[[TrackStep, torch.dtype | None], Engine]
"""Builds an engine from the step and the precision of the arithmetic."""

_OPENVINO_DTYPES = (torch.float32, torch.bfloat16)


def choose_engine(config: ModelConfig, device: torch.device, dtype: torch.dtype, weights: str) -> MakeEngine:
    """Return the engine for ``model.engine`` and ``model.compile``.

    On a CPU, ``auto`` is OpenVINO if it is installed, unless ``model.compile`` is on. If OpenVINO is installed but does
    not load, this is logged, and torch runs the model. ``compile: auto`` compiles while frames are tracked.

    Args:
        config: Settings of the model.
        device: Its device.
        dtype: Precision of its arithmetic.
        weights: Digest of its weights, see :func:`~streamseg.tracker.sam2.checkpoint.weights_digest`.

    Raises:
        ModelError: The configured engine cannot run here.
    """
    named = accelerator(config.device)
    if named is not None:
        return _on_accelerator(config, named, dtype, weights)
    obstacle = _openvino_obstacle(device, dtype)
    if config.engine == "openvino":
        if obstacle is None:
            obstacle = _openvino_failure()
        if obstacle is not None:
            raise ModelError(f"model.engine is openvino, but {obstacle}")
        return _openvino(weights, wait=True)
    if config.engine == "auto" and config.compile != "on" and obstacle is None:
        failure = _openvino_failure()
        if failure is None:
            return _openvino(weights, wait=False)
        log.warning("torch runs the model: %s", failure)
    if choose_compile(config.compile, device):
        use_persistent_cache()
        return partial(CompiledEngine, wait=config.compile == "on")
    return Engine


def _on_accelerator(config: ModelConfig, name: str, dtype: torch.dtype, weights: str) -> MakeEngine:
    """Return OpenVINO on an Intel GPU or NPU.

    Raises:
        ModelError: The settings exclude it, or there is none.
    """
    obstacle = None
    if config.engine == "torch":
        obstacle = "model.engine is torch: set it to auto, since OpenVINO alone can use that device"
    elif config.compile == "on":
        obstacle = "model.compile is on: set it to auto, since OpenVINO alone can use that device"
    obstacle = obstacle or _openvino_obstacle(torch.device("cpu"), dtype) or _openvino_failure(name)
    if obstacle is not None:
        raise ModelError(f"model.device is {config.device}, but {obstacle}")
    return _openvino(weights, wait=config.engine == "openvino", device=name)


def _openvino_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why OpenVINO cannot run the model; None if it can."""
    if device.type != "cpu":
        return f"the model runs on {device}: set model.device to cpu, or model.engine to torch"
    if dtype not in _OPENVINO_DTYPES:
        return "model.dtype is float16: set it to auto, float32 or bfloat16"
    if importlib.util.find_spec("openvino") is None:
        return "it is not installed: pip install openvino, or set model.engine to torch"
    return None


def _openvino_failure(name: str = "CPU") -> str | None:
    """Load OpenVINO, which is installed. Return why it does not work on a device; None if it does."""
    import streamseg.tracker.openvino  # noqa: F401 - before openvino itself: it blocks the telemetry to Intel

    try:
        import openvino

        found = openvino.Core().available_devices
        if _is_available(name, found):
            return None
        if name != "CPU":
            return (
                f"OpenVINO finds no {name} here, only {', '.join(found) or 'nothing'}: install the driver of the "
                "device and allow this user to open it (group render), or set model.device to cpu, or to cuda for a "
                "GPU of NVIDIA"
            )
        reason = "it has no plugin for the CPU"
    except Exception as error:  # noqa: BLE001 - a package from elsewhere, with libraries, can fail in any way
        reason = f"{type(error).__name__}: {error}"
    fix = "pip install --force-reinstall openvino, or set model.engine to torch"
    return f"OpenVINO is installed but does not load ({reason}): {fix}"


def _is_available(name: str, found: list[str]) -> bool:
    """Return whether OpenVINO lists a device: a single GPU as ``GPU``, several as ``GPU.0``, ``GPU.1``."""
    kind, _, number = name.partition(".")
    return name in found or (number in ("", "0") and any(one in (kind, f"{kind}.0") for one in found))


def _openvino(weights: str, *, wait: bool, device: str = "CPU") -> MakeEngine:
    from streamseg.tracker.openvino.engine import OpenVinoEngine

    return partial(OpenVinoEngine, weights=weights, wait=wait, device=device)
