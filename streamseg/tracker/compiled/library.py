"""Functions compiled by AOTInductor: how compiled code runs on a CPU and is cached on disk.

``torch.export`` traces a function, AOTInductor compiles the graph to a shared library in a folder. Loading one takes
hundredths of a second and needs neither torch's compiler nor a C++ compiler. Code that ``torch.compile`` caches needs
both: the one takes seconds to import, the other recompiles its headers wherever /tmp was emptied. On CUDA,
AOTInductor would need CUDA's own headers and compiler, which torch does not ship, so
:mod:`streamseg.tracker.compiled.code_cache` uses ``torch.compiler`` there.

Weights are not part of the library: it is given their addresses. The library does not check its inputs, so
:meth:`LibraryFunction.guard_check` does.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, get_type_hints

import torch
from torch import Tensor, nn

from streamseg.tracker import torch_private
from streamseg.tracker.sam2.memory_bank import MemoryBank

_NAME: Final = "model"
_INPUTS: Final = "streamseg_inputs"
_DIGEST: Final = "streamseg.sha256"

PARTIAL: Final = ".making-"
"""Prefix of the names of unfinished folders."""


class LibraryFunction:
    """A compiled function in a loaded library.

    It must be called with the same modules that it was loaded for and the constants that it was compiled for. Weights
    may be changed in place but not replaced by other tensors. Unlike torch itself it holds the GIL while it runs, so
    other threads of the process wait (a worker has none).

    Args:
        folder: Holds the library; may be deleted once this is constructed.
        function: What was compiled, for its return annotation.
        inputs: Of the kind that it was compiled for.

    Raises:
        ValueError: It was compiled for other inputs.
        RuntimeError: There is no library, or it cannot be loaded.
    """

    def __init__(self, folder: Path, function: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
        self._library = torch_private.load_library(folder, _NAME)
        self._signature = _signature(inputs)
        if self._library.get_metadata().get(_INPUTS) != repr(self._signature):
            raise ValueError("it was compiled for other inputs")
        self._output = _output_of(function)
        self._modules = _modules(inputs)
        weights = _weights(self._modules)
        names = self._library.get_constant_fqns()
        if missing := [name for name in names if name not in weights]:
            raise ValueError(f"it contains constants that are not weights: {missing}")
        # The library holds addresses only: keep the tensors alive even if a module's `data` is replaced.
        self._weights = {name: weights[name].detach() for name in names}
        self._library.load_constants(self._weights, False, True, True)

    def __call__(self, *args: Any) -> Any:
        """Run; the arguments must be of the kind that it was compiled for."""
        return self._output(self._library.boxed_run([tensor for tensor, _ in _parts(args)]))

    def guard_check(self, *args: Any) -> bool:
        """Return whether it can take these arguments; constants among them are not compared."""
        given = _modules(args)
        return (
            _signature(args) == self._signature
            and given.keys() == self._modules.keys()
            and all(given[name] is own for name, own in self._modules.items())
        )


def compile_library(function: Callable[..., Any], inputs: tuple[Any, ...], folder: Path) -> None:
    """Compile a function into a library. Blocks: tens of seconds.

    Args:
        function: Takes modules, a bank, tensors and constants; returns a named tuple of tensors, as its annotation
            says.
        inputs: Positional. The function is traced on them; anything it writes to them is to be discarded. The number
            of a bank's lanes stays variable, but must be 2 or more.
        folder: An existing folder to write to.

    Raises:
        RuntimeError: It cannot be compiled.
    """
    tensors = [tensor for tensor, _ in _parts(inputs)]
    sizes = [{0: torch.export.Dim.DYNAMIC} if lanes else None for _, lanes in _parts(inputs)]
    exported = torch.export.export(_Exported(function, inputs), (tensors,), dynamic_shapes=(sizes,), strict=False)
    with tempfile.TemporaryDirectory(prefix="streamseg-") as temporary:
        archive = Path(temporary) / f"{_NAME}.pt2"
        torch_private.compile_library(
            exported,
            archive,
            {
                "aot_inductor.package_constants_in_so": False,
                # Otherwise weights of up to 8 numbers, or of equal ones, or all weights are written into the code.
                "always_keep_tensor_constants": True,
                "joint_graph_constant_folding": False,
                "freezing": False,
                "aot_inductor.metadata": {_INPUTS: repr(_signature(inputs))},
            },
        )
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder)


def install_library(folder: Path, path: Path) -> None:
    """Copy a library to where later starts look for it, replacing what is there.

    Raises:
        OSError: It cannot be written.
    """
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=path.parent))
    try:
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        (partial / _DIGEST).write_text(_digest(folder))
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        partial.rename(path)
    except OSError:
        if not (path / _DIGEST).is_file():  # else another daemon has just installed its own
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_intact(path: Path) -> None:
    """Compare a library with its digest: loading one that a power cut truncated would end the process.

    Raises:
        ValueError: It differs.
        OSError: It cannot be read.
    """
    if _digest(path) != (path / _DIGEST).read_text():
        raise ValueError("its files differ from those that were written")


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _DIGEST):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _output_of(function: Callable[..., Any]) -> Callable[[Iterable[Tensor]], Any]:
    """Return what builds a function's result from tensors, by its annotation."""
    make: Callable[[Iterable[Tensor]], Any] = get_type_hints(function)["return"]._make
    return make


class _Exported(nn.Module):
    """A function of tensors only, with the modules among its arguments as submodules."""

    def __init__(self, function: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
        super().__init__()
        self._function, self._inputs = function, inputs
        for name, module in _modules(inputs).items():
            self.add_module(name, module)

    def forward(self, tensors: list[Tensor]) -> tuple[Tensor, ...]:
        given = iter(tensors)
        return tuple(self._function(*(_with(value, given) for value in self._inputs)))


def _with(value: Any, given: Iterator[Tensor]) -> Any:
    """Return an argument with its tensors replaced by the next of the given ones."""
    match value:
        case Tensor():
            return next(given)
        case MemoryBank():
            return value.of([next(given) for _ in value.tensors()])
        case _:
            return value


def _parts(args: tuple[Any, ...]) -> Iterator[tuple[Tensor, bool]]:
    """Yield each tensor, and whether its first dimension is a bank's lanes, whose number is variable."""
    for value in args:
        match value:
            case Tensor():
                yield value, False
            case MemoryBank():
                for number, tensor in enumerate(value.tensors()):
                    yield tensor, number < len(MemoryBank.FIELDS)


def _signature(args: tuple[Any, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...], torch.dtype]]:
    """Return everything that the library assumes about the tensors: shape, strides, dtype."""
    return [(tuple(tensor.shape[lanes:]), tensor.stride(), tensor.dtype) for tensor, lanes in _parts(args)]


def _modules(args: tuple[Any, ...]) -> dict[str, nn.Module]:
    return {f"module{number}": value for number, value in enumerate(args) if isinstance(value, nn.Module)}


def _weights(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    """Return all parameters and buffers by every name they have: the compiler picks one name of a shared tensor."""
    return {
        f"{name}.{key}": tensor
        for name, module in modules.items()
        for named in (module.named_parameters, module.named_buffers)
        for key, tensor in named(remove_duplicate=False)
    }
