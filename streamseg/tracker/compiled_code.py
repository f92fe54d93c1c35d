"""Compiled functions on disk, so that the next start neither traces nor compiles them.

Torch keeps the code that it compiled, but traces a function anew in every process, to look that code up: seconds for
each, and there are a dozen. A function that was compiled ahead of its calls can be kept whole
(``torch.compiler.load_compiled_function``; experimental, as torch says, which is one reason for the range of versions
in pyproject.toml).

What a function was compiled from is in the name of its folder (:func:`fingerprint`): code, model, precision, machine.
Weights are not: they stay inputs. As everything that Python unpickles, the folder has to be this user's own.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, cast

import torch
from torch import nn

from streamseg.cache_dir import cache_directory

log = logging.getLogger(__name__)

_PLACE: Final = "TORCHINDUCTOR_CACHE_DIR"
_KEPT_KINDS: Final = 8
"""Folders that are kept, one for each model, size, precision and version that was used lately: 10 to 40 MB each."""

_PLAIN: Final = (bool, int, float, str, bytes, type(None), torch.dtype, torch.device)


class CompiledFunction(Protocol):
    """What torch returns of a function that it compiled ahead of its calls."""

    def __call__(self, *args: Any) -> Any:
        """Run; the inputs must be as those that it was compiled for."""
        ...

    def guard_check(self, *args: Any) -> bool:
        """Whether it can take these inputs."""
        ...

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
        """Those where torch keeps its code; nothing is kept if nobody said where that is."""
        place = os.environ.get(_PLACE)
        return cls(Path(place) / "streamseg" if place else None, kind)

    def load(self, name: str) -> CompiledFunction | None:
        """Return a function that an earlier process saved; None if there is none that can be read."""
        if self._folder is None:
            return None
        path = self._folder / name
        try:
            with path.open("rb") as file:
                function = torch.compiler.load_compiled_function(file)
            os.utime(self._folder)  # so that it is not the one that is dropped
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - unpickling a file that was cut short raises whatever it meets
            log.warning("compiled code in %s cannot be read and is made anew: %s", path, error)
            return None
        return cast(CompiledFunction, function)

    def save(self, name: str, function: CompiledFunction) -> None:
        """Write a function for the next start. That it cannot be is logged, no error."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            function.save_compiled_function(str(self._folder / name))
            self._drop_oldest()
        except Exception as error:  # noqa: BLE001 - torch raises many kinds, and the function works all the same
            log.warning("compiled code is not kept for the next start: %s", error)

    def _drop_oldest(self) -> None:
        assert self._folder is not None
        kinds = sorted(self._folder.parent.iterdir(), key=lambda kind: kind.stat().st_mtime, reverse=True)
        for kind in kinds[_KEPT_KINDS:]:
            shutil.rmtree(kind, ignore_errors=True)


def compile_ahead(function: Callable[..., Any], inputs: tuple[Any, ...]) -> CompiledFunction:
    """Compile a function for such inputs, in a way that can be kept. Blocks: seconds, tens of them at the first time.

    Args:
        function: Of modules and tensors; looked at nothing but the shapes, strides and types of the latter.
        inputs: Positional.
    """
    compiled: Any = torch.compile(function, fullgraph=True, dynamic=False, options={"guard_filter_fn": only_tensors})
    return cast(CompiledFunction, compiled.aot_compile((inputs, {})))


only_tensors: Final = torch.compiler.keep_tensor_guards_unsafe
"""Guards of the compiled code. Of the model nothing changes; to look whether it has takes 1 of nano's 19 ms a frame."""


def fingerprint(module: nn.Module, *others: object) -> str:
    """Name all that compiled code depends on, other than its inputs' shapes.

    Args:
        module: Its structure, plain attributes and shapes count, its weights do not.
        others: What else tracing reads; told apart by ``repr``.
    """
    digest = hashlib.sha256()

    def add(value: object) -> None:
        digest.update(repr(value).encode() + b"\0")

    add((sys.version, platform.machine(), torch.__version__, importlib.metadata.version("sam2")))
    add(sorted((name, value) for name, value in os.environ.items() if name.startswith("TORCHINDUCTOR_") and value))
    add((torch.cpu.get_capabilities(), torch.get_num_threads()))
    if torch.cuda.is_available():
        add([torch.cuda.get_device_properties(device) for device in range(torch.cuda.device_count())])
    for path in sorted(Path(__file__).parent.glob("*.py")):
        add((path.name, hashlib.sha256(path.read_bytes()).hexdigest()))
    for name, part in module.named_modules():
        add((name, type(part).__qualname__, sorted((key, _plain(value)) for key, value in vars(part).items())))
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        add((name, tensor.shape, tensor.stride(), tensor.dtype, tensor.device))
    for other in others:
        add(other)
    return digest.hexdigest()[:32]


def _plain(value: object) -> str:
    """What a constant of the graph may be made of, as text; modules and tensors are looked at by themselves."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return f"({', '.join(_plain(item) for item in value)})"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(_plain(item) for item in value))}}}"
    if isinstance(value, torch.Tensor):
        return repr((value.shape, value.dtype))
    return type(value).__qualname__
