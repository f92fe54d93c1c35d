"""Functions compiled by AOTInductor: how compiled code runs on a CPU, and is kept on disk.

``torch.export`` makes a graph of a function, AOTInductor a folder with a library of it. To load that takes hundredths
of a second and neither torch's compiler nor a C++ compiler. Code that ``torch.compile`` kept takes both: seconds to
import the one; and wherever /tmp was emptied, the other compiles its headers anew. On CUDA it would take CUDA's own
headers and compiler, which torch does not bring along: there :mod:`streamseg.tracker.compiled.code_cache` uses
torch's own way.

Weights are not in the library: it is told where they lie. What it is given is not looked at by the library at all, so
:meth:`PackagedFunction.guard_check` does it.
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

from streamseg.tracker.sam2.memory_bank import MemoryBank

_NAME: Final = "model"
_INPUTS: Final = "streamseg_inputs"
_DIGEST: Final = "streamseg.sha256"

PARTIAL: Final = ".making-"
"""How the names of folders begin that are not finished."""


class PackagedFunction:
    """A compiled function.

    It is called with the modules that it was loaded for, and with the constants that it was compiled for. Their weights
    may be written to, but not exchanged for other tensors. While it runs it holds Python's lock, as torch does not
    otherwise: other threads of the process wait for it (a worker has none).

    Args:
        folder: Holds the library; it may go once this is built.
        function: What was compiled, for its annotation.
        inputs: As those that it was compiled for.

    Raises:
        ValueError: it was compiled for other inputs.
        RuntimeError: there is no such library, or it cannot be loaded.
    """

    def __init__(self, folder: Path, function: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
        # torch._inductor.aoti_load_package does the same, but imports torch's compiler for it: 3 s. One
        # thread calls, so one runner is enough.
        self._library = torch._C._aoti.AOTIModelPackageLoader(str(folder), _NAME, True, 1, -1, False)
        self._signature = _signature(inputs)
        if self._library.get_metadata().get(_INPUTS) != repr(self._signature):
            raise ValueError("it was compiled for other inputs")
        self._output = _output_of(function)
        self._modules = _modules(inputs)
        weights = _weights(self._modules)
        names = self._library.get_constant_fqns()
        if missing := [name for name in names if name not in weights]:
            raise ValueError(f"it has constants that are no weights: {missing}")
        # It only knows where they lie: they must live on, even if a module's `data` is exchanged.
        self._weights = {name: weights[name].detach() for name in names}
        self._library.load_constants(self._weights, False, True, True)

    def __call__(self, *args: Any) -> Any:
        """Run; the arguments must be as those that it was compiled for."""
        return self._output(self._library.boxed_run([tensor for tensor, _ in _parts(args)]))

    def guard_check(self, *args: Any) -> bool:
        """Whether it can take these arguments; constants among them are not looked at."""
        given = _modules(args)
        return (
            _signature(args) == self._signature
            and given.keys() == self._modules.keys()
            and all(given[name] is own for name, own in self._modules.items())
        )


def package(function: Callable[..., Any], inputs: tuple[Any, ...], folder: Path) -> None:
    """Compile a function into a library. Blocks: tens of seconds.

    Args:
        function: Of modules, a bank, tensors and constants, to a named tuple of tensors, which its annotation says.
        inputs: Positional. It is traced on them; what it writes to them is the caller's to throw away. Of a bank, there
            may be any number of lanes but one and nought.
        folder: To write to; it is there.

    Raises:
        RuntimeError: it cannot be compiled.
    """
    tensors = [tensor for tensor, _ in _parts(inputs)]
    sizes = [{0: torch.export.Dim.DYNAMIC} if lanes else None for _, lanes in _parts(inputs)]
    exported = torch.export.export(_Exported(function, inputs), (tensors,), dynamic_shapes=(sizes,), strict=False)
    with tempfile.TemporaryDirectory(prefix="streamseg-") as temporary:
        archive = Path(temporary) / f"{_NAME}.pt2"
        torch._inductor.aoti_compile_and_package(
            exported,
            package_path=str(archive),
            inductor_configs={
                "aot_inductor.package_constants_in_so": False,
                # Else weights of up to 8 numbers, of all the same ones, or all of them are written into the code.
                "always_keep_tensor_constants": True,
                "joint_graph_constant_folding": False,
                "freezing": False,
                "aot_inductor.metadata": {_INPUTS: repr(_signature(inputs))},
            },
        )
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder)


def keep_package(folder: Path, path: Path) -> None:
    """Copy a library to a place where later starts find it, in place of what is there.

    Raises:
        OSError: it cannot be written.
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
        if not (path / _DIGEST).is_file():  # else another daemon has just kept its own
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_whole(path: Path) -> None:
    """See that a library is what was kept: of one that a power cut cut short, loading would end the process.

    Raises:
        ValueError: it is not.
        OSError: it cannot be read.
    """
    if _digest(path) != (path / _DIGEST).read_text():
        raise ValueError("its files are not those that were written")


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _DIGEST):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _output_of(function: Callable[..., Any]) -> Callable[[Iterable[Tensor]], Any]:
    """What makes a function's result of tensors, by its annotation."""
    make: Callable[[Iterable[Tensor]], Any] = get_type_hints(function)["return"]._make
    return make


class _Exported(nn.Module):
    """A function of tensors alone, with the modules that it is called with as parts."""

    def __init__(self, function: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
        super().__init__()
        self._function, self._inputs = function, inputs
        for name, module in _modules(inputs).items():
            self.add_module(name, module)

    def forward(self, tensors: list[Tensor]) -> tuple[Tensor, ...]:
        given = iter(tensors)
        return tuple(self._function(*(_with(value, given) for value in self._inputs)))


def _with(value: Any, given: Iterator[Tensor]) -> Any:
    """An argument with other tensors in it."""
    match value:
        case Tensor():
            return next(given)
        case MemoryBank():
            return value.of([next(given) for _ in value.tensors()])
        case _:
            return value


def _parts(args: tuple[Any, ...]) -> Iterator[tuple[Tensor, bool]]:
    """Each tensor, and whether its first dimension is a bank's lanes, of which there may be any number."""
    for value in args:
        match value:
            case Tensor():
                yield value, False
            case MemoryBank():
                for number, tensor in enumerate(value.tensors()):
                    yield tensor, number < len(MemoryBank.FIELDS)


def _signature(args: tuple[Any, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...], torch.dtype]]:
    """All that the library relies on of the tensors."""
    return [(tuple(tensor.shape[lanes:]), tensor.stride(), tensor.dtype) for tensor, lanes in _parts(args)]


def _modules(args: tuple[Any, ...]) -> dict[str, nn.Module]:
    return {f"module{number}": value for number, value in enumerate(args) if isinstance(value, nn.Module)}


def _weights(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    """All parameters and buffers by all of their names: the compiler chooses among those of shared ones."""
    return {
        f"{name}.{key}": tensor
        for name, module in modules.items()
        for named in (module.named_parameters, module.named_buffers)
        for key, tensor in named(remove_duplicate=False)
    }
