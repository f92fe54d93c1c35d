"""The camera predictor (segment-anything-2-real-time) as an arm of ``tracker.py``.

Its package is also called ``sam2``, so it runs in a process of its own, which times its frames itself. It gets
prepared frames instead of pictures. Unlike the others, it interpolates the masks to the frame's size, here the
model's. As shipped, ``vos_optimized=True`` compiles nothing, because its flags cannot be set from outside; ``forced``
sets them, including the one for the image encoder. It tracks one camera; several cameras get one predictor each and
run one after another. On a machine without CUDA, its hard-coded ``cuda`` is redirected.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from timed import prompt_mask, timed
from torch import Tensor


class ForkArm:
    """See ``tracker_arms.Arm``. If its process ends, the next call raises EOFError.

    Args:
        checkout: Folder with a checkout of the fork.
        config: Name of the model.
        size: Side of the model's input in pixels.
        weights: State dict of the model that the other arms run.
        dtype: For autocast; None for float32.
        forced: Set its compile flags.
    """

    def __init__(
        self,
        checkout: Path,
        config: str,
        size: int,
        weights: dict[str, Tensor],
        dtype: torch.dtype | None,
        *,
        forced: bool,
    ) -> None:
        self._line, theirs = Pipe()
        with theirs:
            environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._child = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])
        # As arrays: torch would send a shared-memory handle, which only a multiprocessing child may open.
        on_cpu = {name: value.cpu().numpy() for name, value in weights.items()}
        self._line.send((config, size, on_cpu, dtype, forced))

    def start(self, frames: Tensor, objects: int, cameras: int) -> None:
        """See ``tracker_arms.Arm``."""
        self._line.send(("start", frames.cpu().numpy(), objects, cameras))
        self._line.recv()

    def run(self, numbers: Sequence[int]) -> tuple[list[Tensor], list[float]]:
        """See ``tracker_arms.Arm``."""
        self._line.send(("run", list(numbers)))
        outputs, times = self._line.recv()
        return list(torch.from_numpy(outputs)), times

    def close(self) -> None:
        """End the process."""
        self._line.close()
        try:
            self._child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def serve(line: Connection) -> None:
    """Run the fork until the connection is closed."""
    from streamseg.tracker.sam2.build import _build

    config, size, weights, dtype, forced = line.recv()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def precision() -> torch.autocast:
        return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)

    def new_predictor() -> Any:
        target = "sam2.sam2_camera_predictor.SAM2CameraPredictorVOS"
        predictor: Any = _build(config, target, {"fill_hole_area": 0}, size, None, device, 0)
        predictor.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        predictor.perpare_data = lambda image, image_size: (image, size, size)
        if device.type == "cpu":
            _redirect_cuda(predictor)
        if forced:
            _compile_all(predictor)
        return predictor

    predictors: list[Any] = []
    frames = torch.empty(0)

    def track(frame: Tensor) -> Tensor:
        with precision():
            masks: list[Tensor] = [predictor.track(frame)[1] for predictor in predictors]
        return masks[0][:, 0]

    while True:
        try:
            command, *values = line.recv()
        except EOFError:
            return
        if command == "start":
            pictures, objects, cameras = values
            frames = torch.from_numpy(pictures).to(device)
            predictors = [new_predictor() for _ in range(cameras)]
            with torch.inference_mode(), precision():
                for predictor in predictors:
                    predictor.load_first_frame(frames[0])
                    for index in range(objects):
                        predictor.add_new_mask(0, index, prompt_mask(index))
            line.send(None)
        else:
            outputs, times = timed(track, frames, values[0])
            # At a quarter of the size, like the masks of the other arms.
            masks = torch.stack([output.float().cpu()[:, 2::4, 2::4] for output in outputs])
            line.send((masks.numpy(), times))


def _compile_all(predictor: Any) -> None:
    """Do what its flags do; the encoder's flag is turned off in its config."""
    for part in ("memory_encoder", "memory_attention", "prompt_encoder", "mask_decoder"):
        setattr(predictor, f"compile_{part}", True)
    predictor._compile_all_components()
    compile_image_encoder(predictor)


def compile_image_encoder(model: Any) -> None:
    """Compile as SAM2Base does with ``compile_image_encoder=True``, but on a model that is already built."""
    model.image_encoder.forward = torch.compile(
        model.image_encoder.forward, mode="max-autotune", fullgraph=True, dynamic=False
    )


def _redirect_cuda(predictor: Any) -> None:
    torch.Tensor.cuda = lambda tensor, **options: tensor  # type: ignore[method-assign, assignment]
    begin = predictor._init_state

    def begin_on_cpu(**options: Any) -> Any:
        state = begin(**options) or predictor.condition_state
        state["device"] = state["storage_device"] = torch.device("cpu")
        return state

    predictor._init_state = begin_on_cpu


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
