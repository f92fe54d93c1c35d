"""The camera predictor (segment-anything-2-real-time) as an arm of ``tracker.py``.

Its package is called ``sam2`` too, so it runs in a process of its own, which times its frames itself. It gets prepared
frames in place of pictures. What it does beyond the others: it interpolates the masks to the frame's size, here the
model's. As shipped, ``vos_optimized=True`` compiles nothing, since nobody can set its flags; ``forced`` sets them. On a
machine without CUDA, its hard-coded ``cuda`` is redirected.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

import torch
from timed import prompt_mask, timed
from torch import Tensor


class ForkArm:
    """See ``tracker.Arm``. One camera only.

    Args:
        checkout: Of the fork.
        config: Name of the model.
        size: Side of its input.
        weights: Of the model that the others run.
        dtype: Of autocast; None for float32.
        forced: Whether its compile flags are set.
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
        folder = tempfile.mkdtemp()
        with Listener(f"{folder}/fork", "AF_UNIX") as listener:
            environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
            self._child = subprocess.Popen([sys.executable, __file__, f"{folder}/fork"], env=environment)
            self._line = listener.accept()
        # As arrays: torch would send a handle of shared memory, which only a child of multiprocessing may open.
        on_cpu = {name: value.cpu().numpy() for name, value in weights.items()}
        self._line.send((config, size, on_cpu, dtype, forced))

    def start(self, frames: Tensor, objects: int, cameras: int) -> None:
        """See ``tracker.Arm``."""
        if cameras != 1:
            raise ValueError("the fork tracks one camera")
        self._line.send(("start", frames.cpu().numpy(), objects))
        self._line.recv()

    def run(self, numbers: Sequence[int]) -> tuple[list[Tensor], list[float]]:
        """See ``tracker.Arm``."""
        self._line.send(("run", list(numbers)))
        outputs, times = self._line.recv()
        return list(torch.from_numpy(outputs)), times

    def close(self) -> None:
        """End the process."""
        self._line.close()
        self._child.wait(timeout=60)


def serve(line: Connection) -> None:
    """Run the fork until the line ends."""
    from streamseg.tracker.build import _build

    config, size, weights, dtype, forced = line.recv()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    target = "sam2.sam2_camera_predictor.SAM2CameraPredictorVOS"
    predictor: Any = _build(config, target, {"fill_hole_area": 0}, size, None, device, 0)
    predictor.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    predictor.perpare_data = lambda image, image_size: (image, size, size)
    if device.type == "cpu":
        _redirect_cuda(predictor)
    if forced:
        for part in ("memory_encoder", "memory_attention", "prompt_encoder", "mask_decoder"):
            setattr(predictor, f"compile_{part}", True)
        predictor._compile_all_components()
    frames = torch.empty(0)

    def track(frame: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            masks: Tensor = predictor.track(frame)[1]
        return masks[:, 0]

    while True:
        try:
            command, *values = line.recv()
        except EOFError:
            return
        if command == "start":
            frames = torch.from_numpy(values[0]).to(device)
            predictor.frame_idx = 0
            with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                predictor.load_first_frame(frames[0])
                for index in range(values[1]):
                    predictor.add_new_mask(0, index, prompt_mask(index))
            line.send(None)
        else:
            outputs, times = timed(track, frames, values[0])
            # At a quarter of the size, as the others give them.
            masks = torch.stack([output.float().cpu()[:, 2::4, 2::4] for output in outputs])
            line.send((masks.numpy(), times))


def _redirect_cuda(predictor: Any) -> None:
    torch.Tensor.cuda = lambda tensor, **options: tensor  # type: ignore[method-assign, assignment]
    begin = predictor._init_state

    def begin_on_cpu(**options: Any) -> Any:
        state = begin(**options) or predictor.condition_state
        state["device"] = state["storage_device"] = torch.device("cpu")
        return state

    predictor._init_state = begin_on_cpu


if __name__ == "__main__":
    serve(Client(sys.argv[1], "AF_UNIX"))
