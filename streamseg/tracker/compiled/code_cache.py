"""Caches compiled functions on disk, so that later starts neither trace nor compile them.

Torch caches compiled code, but every process traces each function again to look it up, which takes seconds for each of
a dozen functions. A function that is compiled ahead of its calls can be cached whole, in torch's own format
(``torch.compiler.load_compiled_function``, which torch calls experimental).

A folder is named after everything that its functions depend on (:func:`fingerprint`): code, model, precision, machine.
Weights are not included, since they are inputs. Loading such a file runs it, so only this user may be able to write
it.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from streamseg.common.locked_folder import LockedFolder, remove_leftovers
from streamseg.paths import cache_directory, is_private, make_private_folder
from streamseg.tracker import torch_private
from streamseg.tracker.torch_private import SavableFunction

log = logging.getLogger(__name__)

_CACHE_VARIABLE: Final = "TORCHINDUCTOR_CACHE_DIR"
_MAX_FOLDERS: Final = 8
"""Number of folders kept, most recently used first; one per model, size, precision and version: 10 to 40 MB each."""

_PARTIAL: Final = ".streamseg-compiling-"

_IN_USE_S: Final = 3600.0
"""A folder written or read this recently may belong to a running daemon and is kept."""

_COMPILER_VARIABLES: Final = (
    "TORCHINDUCTOR_",
    "TORCHDYNAMO_",
    "TORCH_COMPILE_",
    "ATEN_CPU_CAPABILITY",
    "CXX",
)
"""Prefixes of environment variables that torch reads during compilation."""


def use_persistent_cache() -> None:
    """Make torch cache compiled code in this user's cache, unless the environment names another folder.

    By default torch uses the folder for temporary files, which a reboot or a service restart empties. Call this before
    any compilation.
    """
    try:
        folder = cache_directory() / "compiled"
        make_private_folder(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home
        log.warning("compiled code is not cached for the next start: %s", error)
        return
    if os.access(folder, os.W_OK | os.X_OK):
        os.environ.setdefault(_CACHE_VARIABLE, str(folder))


class FunctionCache:
    """The compiled functions of one fingerprint.

    Args:
        folder: Holds the folders of all fingerprints; None caches nothing.
        fingerprint: See :func:`fingerprint`.
    """

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        self._folder = None if folder is None else folder / fingerprint

    @classmethod
    def of(cls, fingerprint: str) -> FunctionCache:
        """Return the cache in torch's own cache folder; it caches nothing if that is not set or others can write."""
        named = os.environ.get(_CACHE_VARIABLE)
        if not named:
            return cls(None, fingerprint)
        root = Path(named)
        for folder in (root, root / "streamseg", root / "streamseg" / fingerprint):
            if folder.exists() and not is_private(folder.stat()):
                log.warning("compiled code is not cached for the next start: other users can write to %s", folder)
                return cls(None, fingerprint)
        return cls(root / "streamseg", fingerprint)

    @contextmanager
    def compiling(self) -> Iterator[tuple[Path, FunctionCache]]:
        """Return an empty folder for the work of another process, and the cache it should write to.

        If nothing can be cached, that cache is inside the folder, which is deleted at the end.
        """
        writable = self._writable_folder()
        if writable is not None:
            remove_leftovers(writable.parent, _PARTIAL)
        folder = LockedFolder(tempfile.gettempdir() if writable is None else writable.parent, _PARTIAL)
        try:
            yield folder.path, FunctionCache(folder.path, "functions") if writable is None else self
        finally:
            folder.remove()

    def has(self, name: str) -> bool:
        """Return whether a function is cached. It may still be unusable."""
        return self._folder is not None and (self._folder / name).exists()

    def load(self, name: str, inputs: tuple[Any, ...]) -> SavableFunction | None:
        """Return a function cached by an earlier process; None if none works.

        Args:
            name: The function's name in the cache.
            inputs: The cached function is run on them once; discard anything it writes to them.
        """
        if self._folder is None or not self.has(name):
            return None
        path = self._folder / name
        try:
            cached = _load(path, inputs)
            cached(*inputs)
        except Exception as error:  # noqa: BLE001 - unpickling a truncated file raises anything
            log.warning("compiled code in %s is unusable and is compiled again: %s", path, error)
            return None
        with suppress(OSError):  # a read-only cache works as well
            os.utime(self._folder)  # marks the folder as recently used
        return cached

    def compile(self, name: str, function: Callable[..., Any], inputs: tuple[Any, ...]) -> SavableFunction:
        """Compile a function for inputs of this kind, and cache it. Blocks: seconds, the first time tens of seconds.

        A failure to cache it is logged, not raised.

        Args:
            name: The function's name in the cache.
            function: Takes modules, banks, tensors and constants. Later only shapes, strides and types of the tensors
                are checked.
            inputs: Positional arguments.

        Raises:
            RuntimeError: It cannot be compiled.
        """
        compiled = torch_private.compile_function(function, inputs)
        compiled.disable_guard_check()
        if (folder := self._writable_folder()) is not None:
            self._write(folder / name, compiled)
        return compiled

    def _writable_folder(self) -> Path | None:
        """Return the folder, created if necessary; None if nothing can be cached."""
        if self._folder is None:
            return None
        try:
            for folder in (self._folder.parent, self._folder):  # `parents` alone would use the default mode for these
                make_private_folder(folder)
            if not os.access(self._folder, os.W_OK | os.X_OK):
                raise PermissionError(f"{self._folder} is not writable")
        except OSError as error:
            log.warning("compiled code is not cached for the next start: %s", error)
            return None
        return self._folder

    def _write(self, path: Path, function: SavableFunction) -> None:
        try:
            function.save_compiled_function(str(path))
        except Exception as error:  # noqa: BLE001 - torch raises many kinds, and the function works anyway
            log.warning("compiled code is not cached for the next start: %s", error)
            return
        with suppress(OSError):  # another daemon may be deleting them right now
            _delete_oldest(path.parent.parent)


def _delete_oldest(folder: Path) -> None:
    """Delete the least recently used folders, except those in use."""
    by_age = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in by_age[_MAX_FOLDERS:]:
        if time.time() - entry.stat().st_mtime > _IN_USE_S:
            shutil.rmtree(entry, ignore_errors=True)


def _load(path: Path, inputs: tuple[Any, ...]) -> SavableFunction:
    function = torch_private.load_function(path)
    if not function.guard_check(*inputs):
        raise ValueError("it was compiled for other inputs")
    function.disable_guard_check()
    return function


def fingerprint(module: nn.Module, *others: object) -> str:
    """Return a name for everything that compiled code depends on, other than its inputs' shapes.

    Cached code checks only the shapes of its inputs, so this includes too much rather than too little.

    Args:
        module: Its structure, plain attributes and shapes count; its weights do not.
        others: Anything else that tracing reads, distinguished by ``repr``.
    """
    digest = hashlib.sha256()

    def add(value: object) -> None:
        digest.update(repr(value).encode() + b"\0")

    add((sys.version, platform.machine(), torch.__version__, torch.get_num_threads()))
    add(torch_private.cpu_capabilities())
    variables = os.environ.items()
    add(sorted(item for item in variables if item[0].startswith(_COMPILER_VARIABLES) and item[0] != _CACHE_VARIABLE))
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
    """Return a constant of the graph as text; modules and tensors are added separately."""
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
