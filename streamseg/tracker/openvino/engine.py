"""The engine that runs on OpenVINO: eager torch until the networks are there, then OpenVINO where it is faster.

What an earlier start has converted is loaded at warm-up: the encoder and the step for one object at once, the other
sizes in a thread. Without it, a process converts them while frames are tracked eagerly. Each network takes over between
two calls, so no frame waits and no object is lost: the memory bank is the same.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import openvino
import torch
from torch import Tensor

from streamseg.tracker.compiled.buckets import CPU_BUCKETS, parts
from streamseg.tracker.compiled.code_cache import fingerprint
from streamseg.tracker.engine import Engine, LaneFrame, Progress, joined
from streamseg.tracker.openvino.background import prepare_in_process
from streamseg.tracker.openvino.cache import NetworkCache
from streamseg.tracker.openvino.functions import blank_inputs, step_inputs, step_result
from streamseg.tracker.openvino.network import Network
from streamseg.tracker.openvino.prepare import ENCODER, STEP, Job, Report, read_report
from streamseg.tracker.sam2.checkpoint import weights_digest
from streamseg.tracker.sam2.memory_bank import BankShape, MemoryBank
from streamseg.tracker.sam2.step import Features, StepOutput, TrackStep

log = logging.getLogger(__name__)

Prepare = Callable[[Job, Path, Progress], None]
"""Converts a model into a folder, see :func:`streamseg.tracker.openvino.prepare.prepare`."""

_Size = tuple[int, int]
"""Lanes and conditioning slots of the step; (0, 0) is the encoder."""

_ENCODER: Final = (0, 0)


class OpenVinoEngine(Engine):
    """Encoder and step on OpenVINO, for a model on the CPU in float32 or bfloat16.

    Args:
        step: Holds the model, which must not change afterwards.
        autocast: Precision of the model's arithmetic; None for float32.
        weights: Names the model's weights, see :func:`weights_digest`; None: they are read for it.
        wait: Whether :meth:`warm_up` waits until all networks are loaded.
        cache: Keeps converted networks; None for this user's.
        prepare: Converts the model.
    """

    def __init__(
        self,
        step: TrackStep,
        autocast: torch.dtype | None,
        *,
        weights: str | None = None,
        wait: bool = False,
        cache: NetworkCache | None = None,
        prepare: Prepare = prepare_in_process,
    ) -> None:
        super().__init__(step, autocast)
        self._weights = weights
        self._wait = wait
        self._cache = NetworkCache.of_user() if cache is None else cache
        self._prepare = prepare
        self._core = openvino.Core()
        self._networks: dict[_Size, Network] = {}  # replaced between calls, by the thread that loads
        self._failed: set[_Size] = set()  # they are not loaded again
        self._report: Report = {}
        self._blank_features: Features | None = None
        self._state = "eager"
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> str:
        """See :attr:`Engine.state`."""
        return self._state

    def warm_up(self, bank: MemoryBank, padding_lane: int, progress: Progress) -> None:
        """Load what an earlier start has converted, or start to convert it.

        Blocks: until the encoder and the step for one object are loaded; if the engine waits, until all sizes are.
        """
        name = self._name(bank.shape)
        folder = self._cache.find(name)
        if folder is not None:
            try:
                progress("loading the networks", 0.0)
                self._report = read_report(folder)
                for size in (_ENCODER, (1, 1)):
                    self._load(folder, bank.shape, size)
            except Exception as error:  # noqa: BLE001 - a truncated file raises anything
                log.warning("the networks in %s are unusable and are converted again: %s", folder, error)
                self._networks.clear()
                self._cache.discard(name)
                folder = None
        if self._wait:
            self._complete(name, folder, bank.shape, progress)
            return
        arguments = (name, folder, bank.shape, lambda what, share: None)
        self._thread = threading.Thread(target=self._complete, args=arguments, name="openvino", daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until all networks are loaded, or have failed to."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def encode(self, images: Tensor) -> Features:
        """Encode frames ``[S, 3, image_size, image_size]``. Lifetime: the result belongs to the caller."""
        return joined([self._encode_one(images[row : row + 1]) for row in range(len(images))])

    def track(
        self, bank: MemoryBank, lanes: Sequence[LaneFrame], features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        """Track each lane on its frame and remember it. Lifetime: the result belongs to the caller."""
        outputs, start = [], 0
        for size in parts(len(lanes), CPU_BUCKETS.lanes, pad=False):
            outputs.append(self._track_part(bank, lanes[start : start + size], features, conditioning, masked))
            start += size
        return joined(outputs)

    def _encode_one(self, image: Tensor) -> Features:
        network = self._networks.get(_ENCODER)
        if network is not None:
            try:
                return Features(*network(image))
            except RuntimeError as error:
                self._give_up(_ENCODER, error)
        return super().encode(image)

    def _track_part(
        self, bank: MemoryBank, lanes: Sequence[LaneFrame], features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        size = (len(lanes), _slots(conditioning, bank.shape))
        network = self._networks.get(size)
        if network is not None:
            index, own = self._inputs(lanes, features)
            try:
                memory = self._step.read(bank, index, size[1], True)
                tracked = step_result(network(*step_inputs(memory, own)))
            except RuntimeError as error:
                self._give_up(size, error)
            else:
                self._step.write(bank, index, tracked)
                return tracked.output
        return super().track(bank, lanes, features, conditioning, masked)

    def _give_up(self, size: _Size, error: RuntimeError) -> None:
        log.error("OpenVINO failed for size %s, which is computed by torch from now on: %s", size, error)
        self._failed.add(size)
        self._networks.pop(size, None)

    def _name(self, shape: BankShape) -> str:
        """Return a name for everything that the networks and their timings depend on."""
        weights = self._weights or weights_digest(self._step.model)  # those of the step itself are made of them
        return fingerprint(self._step, self._autocast, shape, openvino.__version__, weights)

    def _complete(self, name: str, folder: Path | None, shape: BankShape, progress: Progress) -> None:
        """Convert the model if that was not done, and load all networks that are not loaded yet."""
        try:
            if folder is not None:
                self._load_all(folder, shape, progress)
                return
            with self._cache.making() as made:
                self._convert(made, shape, progress)
                kept = self._cache.keep(made, name)
                self._report = read_report(kept)
                self._load_all(kept, shape, progress)
        except Exception as error:  # noqa: BLE001 - OpenVINO raises many kinds, and eager torch works all the same
            self._state = "eager (OpenVINO failed)"
            log.error("OpenVINO is not used, the model runs on torch: %s", error)

    def _convert(self, made: Path, shape: BankShape, progress: Progress) -> None:
        def begin(what: str, share: float) -> None:
            self._state = f"eager (converting {100 * share:.0f} %)"
            progress(what, share)

        begin("converting the model", 0.0)
        self._prepare(Job(self._step, self._autocast, shape, torch.get_num_threads()), made, begin)

    def _load_all(self, folder: Path, shape: BankShape, progress: Progress) -> None:
        sizes = [_ENCODER, *((lanes, slots) for slots in _slot_counts(shape) for lanes in CPU_BUCKETS.lanes)]
        for done, size in enumerate(sizes):
            progress("loading the networks", done / len(sizes))
            self._load(folder, shape, size)
        slower = [name for name, timing in self._report.items() if not timing.openvino_is_faster]
        if slower:
            log.info("torch is faster than OpenVINO on this CPU for %s", ", ".join(slower))
        self._state = "openvino" if self._networks else "eager (faster here than OpenVINO)"

    def _load(self, folder: Path, shape: BankShape, size: _Size) -> None:
        """Compile one size, unless torch is faster for it."""
        name = "encode_1" if size == _ENCODER else f"track_{size[0]}"
        if size in self._networks or size in self._failed or not self._report[name].openvino_is_faster:
            return
        path = folder / (ENCODER if size == _ENCODER else STEP)
        network = Network(self._core, path, self._shapes(shape, size), self._autocast, torch.get_num_threads())
        self._networks[size] = network
        if self._state == "eager":
            self._state = "openvino"

    def _shapes(self, shape: BankShape, size: _Size) -> list[torch.Size]:
        """Return the shapes of a network's inputs."""
        model = self._step.model
        images = torch.zeros(1, 3, model.image_size, model.image_size)
        if size == _ENCODER:
            return [images.shape]
        lanes, slots = size
        with torch.inference_mode():
            if self._blank_features is None:
                # By torch: the thread that tracks may be using the network, which takes one call at a time.
                self._blank_features = super().encode(images)
            return [value.shape for value in blank_inputs(self._step, self._blank_features, shape, lanes, slots)]


def _slot_counts(shape: BankShape) -> tuple[int, int]:
    return 1, shape.conditioning_frames


def _slots(conditioning: int, shape: BankShape) -> int:
    """Return the slots to read: one if no object was corrected, else all."""
    return 1 if conditioning <= 1 else shape.conditioning_frames
