"""The arms of ``tracker.py``: ours, the official predictor, its VOS mode, and other projects' packages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from camera_fork import ForkArm, compile_image_encoder
from reference_predictor import ReferencePredictor
from sam2.sam2_video_predictor import SAM2VideoPredictorVOS
from timed import prompt_mask, timed
from torch import Tensor

from streamseg.tracker.compiled.buckets import CPU_BUCKETS, CUDA_BUCKETS, Buckets, parts
from streamseg.tracker.compiled.compile import CompiledEngine
from streamseg.tracker.engine import Engine
from streamseg.tracker.predictor import CameraPredictor
from streamseg.tracker.sam2.build import build_model, build_reference_model

NANO_WEIGHTS = Path(__file__).parent.parent / "streamseg" / "models" / "nano.pt"
DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
TRANSFORMERS = find_spec("transformers") is not None
OPENVINO = find_spec("openvino") is not None
SLOW = ("official vos", "fork forced")
"""Name prefixes of arms that compile with ``max-autotune``, for minutes."""


class Arm(Protocol):
    """One tracker to measure."""

    def start(self, frames: Tensor, objects: int, cameras: int) -> None:
        """Take the first frame of every camera and prompt its objects with :func:`prompt_mask`."""
        ...

    def run(self, numbers: Sequence[int]) -> tuple[list[Tensor], list[float]]:
        """Track these frames on every camera, see :func:`timed`. Returns the first camera's logits, and times."""
        ...

    def close(self) -> None:
        """Free its memory."""


Makers = dict[str, Callable[[], Arm]]


class PredictorArm:
    """Our tracker or the official code, in one precision."""

    def __init__(self, predictor: CameraPredictor | ReferencePredictor, autocast: torch.dtype | None) -> None:
        self._predictor = predictor
        self._autocast = autocast
        self._streams: list[str] = []
        self._frames = torch.empty(0)

    def start(self, frames: Tensor, objects: int, cameras: int) -> None:
        """See :class:`Arm`."""
        self._frames = frames
        self._streams = [f"camera{index}" for index in range(cameras)]
        with self._precision():
            for stream in self._streams:
                self._predictor.open_stream(stream)
                self._predictor.track({stream: frames[0]})
                for index in range(objects):
                    self._predictor.add_prompt(stream, index, mask=prompt_mask(index))

    def run(self, numbers: Sequence[int]) -> tuple[list[Tensor], list[float]]:
        """See :class:`Arm`."""
        return timed(self._track, self._frames, numbers)

    def close(self) -> None:
        """See :class:`Arm`."""

    def _track(self, frame: Tensor) -> Tensor:
        with self._precision():
            return self._predictor.track(dict.fromkeys(self._streams, frame))[self._streams[0]].mask_logits

    def _precision(self) -> torch.autocast:
        return torch.autocast(
            self._predictor.model.device.type, dtype=self._autocast, enabled=self._autocast is not None
        )


def make_arms(
    model: str,
    size: int,
    objects: int,
    cameras: int,
    *,
    dtypes: Sequence[str],
    device: torch.device,
    compiled: bool,
    slow: bool,
    fork: Path | None,
) -> Makers:
    """Return name -> maker of the arm, :data:`SLOW` ones last.

    The official float32 arm comes first: the others are compared with its masks.

    Args:
        model: Name of a sam2 config, or nano.
        size: Side of the model's input.
        objects: Per camera.
        cameras: Number of cameras.
        dtypes: Names from :data:`DTYPES`; other packages run in the last one.
        device: Where to run.
        compiled: Add ours compiled.
        slow: Add the slow arms.
        fork: Checkout of the camera fork, if any.
    """
    checkpoint = NANO_WEIGHTS if model == "nano" else None
    all_buckets = CPU_BUCKETS if device.type == "cpu" else CUDA_BUCKETS
    buckets = Buckets(
        lanes=tuple(sorted(set(parts(objects * cameras, all_buckets.lanes, pad=all_buckets.pad)))),
        streams=tuple(sorted(set(parts(cameras, all_buckets.streams, pad=all_buckets.pad)))),
        pad=all_buckets.pad,
    )

    def built_by(build: Callable[..., Any], where: torch.device) -> Any:
        built = build(model, image_size=size, checkpoint=checkpoint, device=where)
        see_objects(built, checkpoint)
        return built

    def official(dtype: torch.dtype | None, *, vos: bool) -> Arm:
        built = built_by(build_reference_model, device)
        if vos:
            # As `build_sam2_video_predictor(vos_optimized=True)` does, on a model that is already built.
            built.__class__ = SAM2VideoPredictorVOS
            built._compile_all_components()
            compile_image_encoder(built)
        return PredictorArm(ReferencePredictor(built, max_objects=objects), dtype)

    def ours(engine: Callable[..., Engine], dtype: torch.dtype | None) -> Arm:
        built = built_by(build_model, device)
        predictor = CameraPredictor(built, max_objects=objects, autocast=dtype, engine=engine)
        predictor.warm_up(lambda what, share: None)
        return PredictorArm(predictor, None)

    def camera_fork(checkout: Path, *, forced: bool) -> Arm:
        built = built_by(build_model, torch.device("cpu"))
        return ForkArm(checkout, model, size, built.state_dict(), DTYPES[dtypes[-1]], forced=forced)

    def hugging_face(dtype: torch.dtype | None) -> Arm:
        # Imported here: the package is not a dependency of this project.
        from transformers_video import TransformersArm

        built = built_by(build_model, torch.device("cpu"))
        return TransformersArm(built, dtype or torch.float32, device)

    arms: Makers = {}
    for name in dtypes if "float32" in dtypes else ["float32", *dtypes]:
        dtype = DTYPES[name]
        arms[f"official {name}"] = partial(official, dtype, vos=False)
        if name in dtypes:
            arms[f"ours eager {name}"] = partial(ours, Engine, dtype)
            if device.type == "cpu" and OPENVINO and dtype is not torch.float16:
                arms[f"ours openvino {name}"] = partial(ours, openvino_engine(), dtype)
            if compiled:
                arms[f"ours compiled {name}"] = partial(ours, partial(CompiledEngine, buckets=buckets), dtype)
    if fork is not None:
        arms[f"fork {dtypes[-1]}"] = partial(camera_fork, fork, forced=False)
    if TRANSFORMERS and model.startswith("sam2.1_hiera_"):
        for name in dtypes:
            if name in ("float32", dtypes[-1]):
                arms[f"transformers {name}"] = partial(hugging_face, DTYPES[name])
    if slow:
        for name in dtypes:
            arms[f"{SLOW[0]} {name}"] = partial(official, DTYPES[name], vos=True)
        if fork is not None:
            arms[f"{SLOW[1]} {dtypes[-1]}"] = partial(camera_fork, fork, forced=True)
    return arms


def openvino_engine() -> Callable[..., Engine]:
    """Return what makes OpenVINO's engine. It keeps nothing in the user's cache."""
    from streamseg.tracker.openvino.cache import NetworkCache
    from streamseg.tracker.openvino.engine import OpenVinoEngine

    return partial(OpenVinoEngine, wait=True, cache=NetworkCache(None))


@torch.no_grad()
def see_objects(model: torch.nn.Module, checkpoint: Path | None) -> None:
    """Make random weights report every object as visible: masks of invisible ones are constant."""
    if checkpoint is None:
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(8.0)
