"""All uses of torch's private functions, with the fallback for versions that lack them.

torch 2.7 and newer work. Each `HAS_...` names the first version tested with a feature; older ones fall back to plain
``torch.compile`` or to an attention mask.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, cast

import torch
from torch import Tensor


def _version(text: str) -> tuple[int, int]:
    """``"2.15.0+cu132"`` -> ``(2, 15)``."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


VERSION: Final = _version(torch.__version__)

HAS_SAVED_FUNCTIONS: Final = VERSION >= (2, 11)
"""Whether a compiled function can be saved and loaded (``torch.compiler.load_compiled_function``)."""

HAS_RANGED_ATTENTION: Final = VERSION >= (2, 12)
"""Whether ``torch.nn.attention.varlen`` takes the length of each range from the device (its argument ``seqused_k``)."""

GUARD_OPTIONS: Final[dict[str, Any]] = (
    {"guard_filter_fn": torch.compiler.keep_tensor_guards_unsafe}
    if hasattr(torch.compiler, "keep_tensor_guards_unsafe")
    else {}
)
"""Options of ``torch.compile`` that drop all guards except the ones on tensors.

The model does not change, and checking that takes 1 of nano's 19 ms per frame. Older versions check.
"""


class SavableFunction(Protocol):
    """A function that torch compiled ahead of its calls."""

    def __call__(self, *args: Any) -> Any:
        """Run; the inputs must be of the kind it was compiled for."""
        ...

    def guard_check(self, *args: Any) -> bool:
        """Whether it can take these inputs."""
        ...

    def disable_guard_check(self) -> None:
        """Disable that check, and leave it to the caller."""
        ...

    def save_compiled_function(self, path: str) -> None:
        """Write it to a file."""
        ...


def compile_function(function: Callable[..., Any], inputs: tuple[Any, ...]) -> SavableFunction:
    """Compile a function ahead of its calls. Needs :data:`HAS_SAVED_FUNCTIONS`. Blocks: up to tens of seconds."""
    with torch._dynamo.config.patch(enable_aot_compile=True):  # on by default in torch 2.15, off in 2.11
        compiled: Any = torch.compile(function, fullgraph=True, dynamic=False, options=GUARD_OPTIONS)
        return cast(SavableFunction, compiled.aot_compile((inputs, {})))


def load_function(path: Path) -> SavableFunction:
    """Load a file of :meth:`SavableFunction.save_compiled_function`. Loading runs code in the file."""
    with path.open("rb") as file:
        return cast(SavableFunction, torch.compiler.load_compiled_function(file))


def mark_dynamic(tensor: Tensor, dim: int) -> None:
    """Make code traced with this tensor work for any size of that dimension."""
    torch._dynamo.mark_dynamic(tensor, dim)


def compiled_graphs() -> int:
    """Return the number of graphs that ``torch.compile`` has made in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")  # not imported yet: nothing was compiled; importing takes a second
    return 0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"])


def cpu_capabilities() -> dict[str, Any]:
    """Instruction sets of this CPU by name, such as ``avx512_bf16`` and ``amx_bf16``."""
    if hasattr(torch.cpu, "get_capabilities"):
        return dict(torch.cpu.get_capabilities())
    found: dict[str, Any] = {
        "avx512_bf16": torch.cpu._is_avx512_bf16_supported(),
        "amx_bf16": torch.cpu._is_amx_tile_supported(),  # every CPU with AMX tiles multiplies bfloat16 in them
        "kernels": torch.backends.cpu.get_cpu_capability(),
    }
    return found
