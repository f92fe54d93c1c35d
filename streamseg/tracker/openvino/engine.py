"""The OpenVINO engine: eager torch until the networks are ready, then OpenVINO where it is faster.

Networks compiled at an earlier start are loaded at warm-up: the encoder and the step for one object at once, the other
sizes in a thread. Without them, a process converts and compiles the model while frames are tracked eagerly. Each
network takes over between two calls, so no frame waits and no object is lost: the memory bank is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import openvino
import torch
from torch import Tensor

from streamseg.tracker.background import BackgroundProcess, CancelledError
from streamseg.tracker.compiled.buckets import parts
from streamseg.tracker.compiled.code_cache import fingerprint
from streamseg.tracker.engine import Engine, LaneFrame, Progress, joined, lane_inputs
from streamseg.tracker.openvino.cache import NetworkCache
from streamseg.tracker.openvino.functions import step_inputs, step_result
from streamseg.tracker.openvino.network import CPU, Network, Target, load_network
from streamseg.tracker.openvino.prepare import (
    ENCODER,
    LANES,
    Job,
    Report,
    Size,
    digest,
    prepare,
    read_report,
    step_sizes,
)
from streamseg.tracker.preparation import Preparation, Process
from streamseg.tracker.sam2.checkpoint import weights_digest
from streamseg.tracker.sam2.memory_bank import BankShape, MemoryBank
from streamseg.tracker.sam2.step import Features, StepOutput, TrackStep

log = logging.getLogger(__name__)


class OpenVinoEngine(Engine):
    """Encoder and step on OpenVINO, for a model on the CPU in float32 or bfloat16.

    Args:
        step: Holds the model, which must not change afterwards.
        autocast: Precision of the model's arithmetic; None for float32.
        weights: Digest of the model's weights, see :func:`weights_digest`; None: compute it.
        wait: Whether :meth:`warm_up` waits until all networks are loaded.
        cache: Cache of compiled networks; None for this user's.
        process: Converts the model; None for a separate process, at low priority unless :meth:`warm_up` waits.
        device: OpenVINO's name for the device of the networks.

    Attributes:
        preparation: Converts and loads.
    """

    def __init__(
        self,
        step: TrackStep,
        autocast: torch.dtype | None,
        *,
        weights: str | None = None,
        wait: bool = False,
        cache: NetworkCache | None = None,
        process: Process | None = None,
        device: str = CPU,
    ) -> None:
        super().__init__(step, autocast)
        self._weights = weights
        self._wait = wait
        self._target = Target(autocast, torch.get_num_threads(), device)
        self._cache = NetworkCache.of_user() if cache is None else cache
        process = BackgroundProcess("normal" if wait else "idle") if process is None else process
        self.preparation = Preparation("OpenVINO", "converting", process)
        self._core = openvino.Core()
        self._accelerator = "" if device == CPU else f"{device} ({self._core.get_property(device, 'FULL_DEVICE_NAME')})"
        self._networks: dict[Size, Network] = {}  # replaced between calls, by the thread that loads
        self._failed: set[Size] = set()  # not loaded again

    @property
    def state(self) -> str:
        """See :attr:`Engine.state`."""
        return self.preparation.state

    @property
    def device(self) -> str:
        """See :attr:`Engine.device`: torch's until OpenVINO runs a network on another one."""
        return self._accelerator if self._accelerator and self._networks else super().device

    def warm_up(self, bank: MemoryBank, padding_lane: int, progress: Progress) -> None:
        """Load networks from an earlier start, or begin the conversion.

        Blocks: until the encoder and the step for one object are loaded; if the engine waits, until all sizes are.
        """
        name = self._name(bank.shape)
        folder = self._cache.find(name)
        if folder is not None:
            try:
                progress("loading the networks", 0.0)
                report = read_report(folder)
                for size in (ENCODER, Size(1, 1)):
                    self._load(folder, report, size)
            except Exception as error:  # noqa: BLE001 - OpenVINO raises many kinds
                self._discard(name, folder, error)
                folder = None
        if self._wait:
            self.preparation.run(partial(self._complete, name, folder, bank.shape, progress))
        else:
            self.preparation.start(partial(self._complete, name, folder, bank.shape, lambda what, share: None))

    def close(self) -> None:
        """See :meth:`Engine.close`. Blocks: for a part that is being loaded, a tenth of a second."""
        self.preparation.stop()

    def frame_threads(self) -> AbstractContextManager[object]:
        """See :meth:`Engine.frame_threads`: one thread, once OpenVINO runs the networks.

        Torch's share is hundreds of small operations. A split operation waits for its slowest thread, for whole time
        slices if another process has that thread's core.
        """
        return _torch_threads(1) if self.state == "openvino" else nullcontext()

    def encode(self, images: Tensor) -> Features:
        """Encode frames ``[S, 3, image_size, image_size]``. Lifetime: the result belongs to the caller."""
        return joined([self._encode_one(images[row : row + 1]) for row in range(len(images))])

    def track(
        self, bank: MemoryBank, lanes: Sequence[LaneFrame], features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        """Track each lane on its frame and remember it. Lifetime: the result belongs to the caller."""
        outputs, start = [], 0
        for size in parts(len(lanes), LANES, pad=False):
            outputs.append(self._track_part(bank, lanes[start : start + size], features, conditioning, masked))
            start += size
        return joined(outputs)

    def _encode_one(self, image: Tensor) -> Features:
        network = self._networks.get(ENCODER)
        if network is not None:
            try:
                top, attended, stride8, stride4 = network(image)
                return Features(top, attended, stride8, stride4, self._step.colors(image))
            except RuntimeError as error:
                self._give_up(ENCODER, error)
        with _torch_threads(self._target.threads):
            return super().encode(image)

    def _track_part(
        self, bank: MemoryBank, lanes: Sequence[LaneFrame], features: Features, conditioning: int, masked: bool
    ) -> StepOutput:
        size = Size(len(lanes), 1 if conditioning <= 1 else bank.shape.conditioning_frames)
        network = self._networks.get(size)
        if network is not None:
            index, own = lane_inputs(lanes, features, self._device)
            try:
                memory = self._step.read(bank, index, size.slots, True, own.colors)
                tracked = step_result(network(*step_inputs(memory, own)))
            except RuntimeError as error:
                self._give_up(size, error)
            else:
                self._step.write(bank, index, memory, tracked)
                return tracked.output
        with _torch_threads(self._target.threads):
            return super().track(bank, lanes, features, conditioning, masked)

    def _give_up(self, size: Size, error: RuntimeError) -> None:
        log.error("OpenVINO failed for size %s, which is computed by torch from now on: %s", tuple(size), error)
        self._failed.add(size)
        self._networks.pop(size, None)

    def _name(self, shape: BankShape) -> str:
        """Return a name for everything that the networks and their timings depend on."""
        weights = self._weights or weights_digest(self._step.model)  # not the step's, which are derived
        others = (self._target.device, self._accelerator) if self._accelerator else ()
        return fingerprint(self._step, self._autocast, shape, openvino.__version__, weights, *others)

    def _complete(self, name: str, folder: Path | None, shape: BankShape, progress: Progress) -> None:
        """Convert the model if needed, and load all networks that are not loaded yet."""
        if folder is None or not self._load_found(name, folder, shape, progress):
            with self._cache.making() as made:
                job = Job(self._step, shape, self._target)
                self.preparation.run_process(prepare, job, made, progress)
                self._load_all(self._cache.keep(made, name), shape, progress)

    def _load_found(self, name: str, folder: Path, shape: BankShape, progress: Progress) -> bool:
        """Load networks of an earlier process. Return whether that worked."""
        try:
            self._load_all(folder, shape, progress)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - OpenVINO raises many kinds
            self._discard(name, folder, error)
            return False
        return True

    def _discard(self, name: str, folder: Path, error: Exception) -> None:
        log.warning("the networks in %s are unusable and are converted again: %s", folder, error)
        self._networks.clear()
        self._cache.discard(name)

    def _load_all(self, folder: Path, shape: BankShape, progress: Progress) -> None:
        report = read_report(folder)
        sizes = [ENCODER, *step_sizes(shape)]
        for done, size in enumerate(sizes):
            progress("loading the networks", done / len(sizes))
            self.preparation.check()
            self._load(folder, report, size)
        slower = [name for name, timing in report.timings.items() if not timing.openvino_is_faster]
        if slower:
            log.info("torch is faster than OpenVINO on this CPU for %s", ", ".join(slower))
        self.preparation.state = "openvino" if self._networks else "eager (faster here than OpenVINO)"

    def _load(self, folder: Path, report: Report, size: Size) -> None:
        """Load one size, unless torch is faster for it.

        Raises:
            ValueError: Its file is damaged.
            OSError, RuntimeError: It cannot be loaded.
        """
        if size in self._networks or size in self._failed or not report.timings[size.name].openvino_is_faster:
            return
        content = (folder / size.file).read_bytes()
        if digest(content) != report.digests[size.file]:
            raise ValueError(f"{size.file} is damaged")
        self._networks[size] = load_network(self._core, content, report.target(size, self._target))
        if self.preparation.state == "eager":
            self.preparation.state = "openvino"


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch threads for calls from this thread."""
    before = torch.get_num_threads()
    if count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count != before:
            torch.set_num_threads(before)
