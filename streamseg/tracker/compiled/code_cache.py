"""Compiled functions on disk, so that the next start neither traces nor compiles them.

Torch keeps the code that it compiled, but traces a function anew in every process, to look that code up: seconds for
each, and there are a dozen. A function that was compiled ahead of its calls can be kept whole: on a CPU as a library
(:mod:`streamseg.tracker.compiled.packaged_code`), on CUDA in torch's own way
(``torch.compiler.load_compiled_function``, which torch calls experimental).

What a function was compiled from is in the name of its folder (:func:`fingerprint`): code, model, precision, machine.
Weights are not: they stay inputs. To read such a file is to run it, so nobody else may be able to write it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import logging
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, cast

import torch
from torch import nn

from streamseg.paths import cache_directory, is_private
from streamseg.tracker.compiled.packaged_code import PARTIAL, PackagedFunction, check_whole, keep_package, package

log = logging.getLogger(__name__)

_PLACE: Final = "TORCHINDUCTOR_CACHE_DIR"
_KEPT_KINDS: Final = 8
"""Folders that are kept, one for each model, size, precision and version that was used lately: 10 to 40 MB each."""

_IN_USE_S: Final = 3600.0
"""A folder that was written or used so lately may be another daemon's, and stays."""

_READ: Final = (
    "TORCHINDUCTOR_",
    "TORCHDYNAMO_",
    "TORCH_COMPILE_",
    "AOT_INDUCTOR_",
    "AOTINDUCTOR_",
    "ATEN_CPU_CAPABILITY",
    "CXX",
)
"""How the names of environment variables begin that torch reads when it compiles."""


class CompiledFunction(Protocol):
    """A function that was compiled ahead of its calls."""

    def __call__(self, *args: Any) -> Any:
        """Run; the inputs must be as those that it was compiled for, which is not looked at."""
        ...

    def guard_check(self, *args: Any) -> bool:
        """Whether it can take these inputs."""
        ...


class _OfTorch(CompiledFunction, Protocol):
    """One of torch's own."""

    def disable_guard_check(self) -> None:
        """Leave that to the caller."""
        ...

    def save_compiled_function(self, path: str) -> None:
        """Write it to a file, at once."""
        ...


def keep_compiled_code() -> None:
    """Have torch keep compiled code with this user's other files, unless the environment names a place.

    By itself it takes the folder for temporary files, which a restart of the machine or of a service empties. Call it
    before anything is compiled.
    """
    try:
        folder = cache_directory() / "compiled"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home
        log.warning("compiled code is not kept for the next start: %s", error)
        return
    if os.access(folder, os.W_OK | os.X_OK):
        os.environ.setdefault(_PLACE, str(folder))


class KeptFunctions:
    """The compiled functions of one fingerprint.

    Args:
        folder: Holds those of all fingerprints; None to keep nothing.
        kind: The fingerprint.
    """

    def __init__(self, folder: Path | None, kind: str) -> None:
        self._folder = None if folder is None else folder / kind

    @classmethod
    def of(cls, kind: str) -> KeptFunctions:
        """Those where torch keeps its code; nothing is kept if nobody said where that is, or others may write there."""
        named = os.environ.get(_PLACE)
        if not named:
            return cls(None, kind)
        place = Path(named)
        for folder in (place, place / "streamseg", place / "streamseg" / kind):
            if folder.exists() and not is_private(folder.stat()):
                log.warning("compiled code is not kept for the next start: others may write to %s", folder)
                return cls(None, kind)
        return cls(place / "streamseg", kind)

    def load(self, name: str, function: Callable[..., Any], inputs: tuple[Any, ...]) -> CompiledFunction | None:
        """Return a function that an earlier process kept; None if there is none that works.

        Args:
            name: Of the function.
            function: What was compiled.
            inputs: It is run on them once; what it writes to them is the caller's to throw away.
        """
        if self._folder is None or not (path := self._folder / name).exists():
            return None
        try:
            kept = _load_library(path, function, inputs) if path.is_dir() else _load_torch_s(path, inputs)
            kept(*inputs)
        except Exception as error:  # noqa: BLE001 - a file that was cut short raises whatever unpickling meets
            log.warning("compiled code in %s cannot be used and is made anew: %s", path, error)
            return None
        with suppress(OSError):  # a cache that may only be read is as good
            os.utime(self._folder)  # so that it is not the one that is dropped
        return kept

    def make(
        self, name: str, function: Callable[..., Any], inputs: tuple[Any, ...], *, packaged: bool
    ) -> CompiledFunction:
        """Compile a function for such inputs, and keep it. Blocks: seconds, tens of them at the first time.

        That it cannot be kept is logged, no error.

        Args:
            name: Of the function.
            function: Of modules, banks, tensors and constants; nothing but the shapes, strides and types of the tensors
                is looked at again.
            inputs: Positional.
            packaged: As a library, on a CPU.

        Raises:
            RuntimeError: it cannot be compiled.
            ValueError: it holds constants that are no weights.
        """
        folder = self._made_folder()
        if not packaged:
            # On in torch 2.15, a switch in torch 2.11, which a machine with a GPU and no registry may have.
            with torch._dynamo.config.patch(enable_aot_compile=True):
                compiled: Any = torch.compile(
                    function, fullgraph=True, dynamic=False, options={"guard_filter_fn": only_tensors}
                )
                made = compiled.aot_compile((inputs, {}))
            made.disable_guard_check()
            if folder is not None:
                self._keep(folder / name, made.save_compiled_function)
            return cast(CompiledFunction, made)
        # Not in /tmp, if it can be helped: libraries cannot be loaded from where nothing may be executed.
        with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder) as place:
            package(function, inputs, Path(place))
            loaded = PackagedFunction(Path(place), function, inputs)  # before it is kept: only what works is
            if folder is not None:
                self._keep(folder / name, lambda path: keep_package(Path(place), Path(path)))
            return loaded

    def _made_folder(self) -> Path | None:
        """The folder, which is made if need be; None if nothing can be kept."""
        if self._folder is None:
            return None
        try:
            for folder in (self._folder.parent, self._folder):  # `parents` would give these the rights of any folder
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self._folder, os.W_OK | os.X_OK):
                raise PermissionError(f"{self._folder} may not be written to")
        except OSError as error:
            log.warning("compiled code is not kept for the next start: %s", error)
            return None
        return self._folder

    def _keep(self, path: Path, write: Callable[[str], None]) -> None:
        try:
            write(str(path))
        except Exception as error:  # noqa: BLE001 - torch raises many kinds, and the function works all the same
            log.warning("compiled code is not kept for the next start: %s", error)
            return
        with suppress(OSError):  # another daemon may drop them just now
            self._drop_oldest(path.parent.parent)
            for left in path.parent.glob(f"{PARTIAL}*"):  # by a process that was killed
                if time.time() - left.stat().st_mtime > _IN_USE_S:
                    shutil.rmtree(left, ignore_errors=True)

    def _drop_oldest(self, folder: Path) -> None:
        by_age = sorted(folder.iterdir(), key=lambda kind: kind.stat().st_mtime, reverse=True)
        for kind in by_age[_KEPT_KINDS:]:
            if time.time() - kind.stat().st_mtime > _IN_USE_S:
                shutil.rmtree(kind, ignore_errors=True)


def _load_library(path: Path, function: Callable[..., Any], inputs: tuple[Any, ...]) -> CompiledFunction:
    check_whole(path)
    return PackagedFunction(path, function, inputs)


def _load_torch_s(path: Path, inputs: tuple[Any, ...]) -> CompiledFunction:
    with path.open("rb") as file:
        function = cast(_OfTorch, torch.compiler.load_compiled_function(file))
    if not function.guard_check(*inputs):
        raise ValueError("it was compiled for other inputs")
    function.disable_guard_check()
    return function


only_tensors: Final = torch.compiler.keep_tensor_guards_unsafe
"""Guards of the compiled code. Of the model nothing changes; to look whether it has takes 1 of nano's 19 ms a frame."""


def fingerprint(module: nn.Module, *others: object) -> str:
    """Name all that compiled code depends on, other than its inputs' shapes.

    Nothing but the inputs' shapes is looked at again when such code is run, so this errs towards too many names.

    Args:
        module: Its structure, plain attributes and shapes count, its weights do not.
        others: What else tracing reads; told apart by ``repr``.
    """
    digest = hashlib.sha256()

    def add(value: object) -> None:
        digest.update(repr(value).encode() + b"\0")

    add((sys.version, platform.machine(), torch.__version__, torch.get_num_threads()))
    add(torch.cpu.get_capabilities())
    add(sorted((name, value) for name, value in os.environ.items() if name.startswith(_READ) and name != _PLACE))
    for source in ("streamseg", "sam2"):
        add([(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in _sources(source)])
    for device in {tensor.device for tensor in module.parameters() if tensor.device.type == "cuda"}:
        found = torch.cuda.get_device_properties(device)
        add((found.name, found.major, found.minor, found.multi_processor_count, found.total_memory))
    for name, part in module.named_modules():
        kind = type(part)
        add((name, kind.__module__, kind.__qualname__))
        add(sorted((key, _plain(value)) for key, value in vars(part).items()))
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        add((name, tensor.shape, tensor.stride(), tensor.dtype, tensor.device))
    for other in others:
        add(other)
    return digest.hexdigest()[:32]


def _sources(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    places = (spec.submodule_search_locations or []) if spec else []
    return sorted(path for place in places for path in Path(place).rglob("*.py"))


def _plain(value: object) -> str:
    """What a constant of the graph may be made of, as text; modules and tensors are looked at by themselves."""
    match value:
        case bool() | int() | float() | str() | bytes() | None | torch.dtype() | torch.device():
            return repr(value)
        case tuple() | list():
            return f"({', '.join(_plain(item) for item in value)})"
        case set() | frozenset():
            return f"{{{', '.join(sorted(_plain(item) for item in value))}}}"
        case dict():
            return f"{{{', '.join(sorted(f'{_plain(key)}: {_plain(item)}' for key, item in value.items()))}}}"
        case torch.Tensor():
            return repr((value.shape, value.dtype))
        case functools.partial():
            return f"{_plain(value.func)}({_plain(value.args)}, {_plain(value.keywords)})"
        case _:
            named = value if hasattr(value, "__qualname__") else type(value)
            return f"{getattr(named, '__module__', '')}.{named.__qualname__}"
