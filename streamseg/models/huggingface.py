"""Models of the Hugging Face Hub: ``owner/name`` as a model's name.

A repository must hold one checkpoint as sam2 publishes them (``.pt`` or ``.pth``), and its config (``.yaml``) unless it
is one of Meta's. ``huggingface_hub`` does the work: it resumes transfers, keeps files in its own cache (``HF_HOME``),
and supports tokens and mirrors (``HF_TOKEN``, ``HF_ENDPOINT``). It is imported only on use. Over plain HTTP it does not
compare the digest of a download with the one that the Hub announces; this module does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from streamseg.common.redact import redact
from streamseg.errors import ModelError

_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
CHECKPOINT_SUFFIXES: Final = (".pt", ".pth")
CONFIG_SUFFIXES: Final = (".yaml", ".yml")


class HubModel(NamedTuple):
    """A model in the local cache.

    Attributes:
        checkpoint: The weights file.
        config: The config from the repository; None if it has none.
    """

    checkpoint: Path
    config: Path | None


def is_model_id(name: str) -> bool:
    """Return whether a model's name has the form of an id of the Hub, such as ``facebook/sam2.1-hiera-tiny``."""
    return _ID.fullmatch(name) is not None and not name.endswith(CHECKPOINT_SUFFIXES)


def find_local(model_id: str) -> HubModel | None:
    """Return a model from the local cache, without any access to the network; None if it is not there.

    Raises:
        ModelError: The repository is not laid out as described above.
    """
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns = [f"*{suffix}" for suffix in (*CHECKPOINT_SUFFIXES, *CONFIG_SUFFIXES)]
    try:
        folder = Path(huggingface_hub.snapshot_download(model_id, local_files_only=True, allow_patterns=patterns))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    names = [path.name for path in folder.iterdir() if path.is_file()]
    if not any(name.endswith(CHECKPOINT_SUFFIXES) for name in names):
        return None
    checkpoint, config = _choose(model_id, names)
    return HubModel(folder / checkpoint, None if config is None else folder / config)


def fetch(model_id: str, progress: Callable[[int, int], None]) -> HubModel:
    """Fetch a model into the local cache, unless it is there and up to date.

    Blocks: until the files are there. Retries are up to the library.

    Args:
        model_id: The repository.
        progress: Called with the number of bytes so far and the size of the checkpoint.

    Raises:
        ModelError: There is no such model, it cannot be fetched, or the download is damaged.
    """
    import huggingface_hub

    try:
        siblings = huggingface_hub.HfApi(library_name="streamseg").model_info(model_id, files_metadata=True).siblings
        files = {file.rfilename: file for file in siblings or () if "/" not in file.rfilename}
        checkpoint, config = _choose(model_id, files)
        paths = [
            Path(
                huggingface_hub.hf_hub_download(
                    model_id, name, library_name="streamseg", tqdm_class=_bar(progress) if name == checkpoint else None
                )
            )
            for name in (checkpoint, *([config] if config else []))
        ]
    except ModelError:
        raise
    except Exception as error:  # a boundary: the library raises its own, httpx's and the system's errors
        raise ModelError(
            f"{model_id} cannot be fetched from the Hugging Face Hub: {_first_line(error)}. Check the id, the network, "
            "and HF_TOKEN if the model is private or gated"
        ) from error
    lfs = files[checkpoint].lfs
    if lfs is not None and _sha256(paths[0]) != lfs.sha256:
        paths[0].resolve().unlink()
        raise ModelError(
            f"{model_id}: {checkpoint} arrived damaged: its sha256 is not {lfs.sha256}. It was deleted: try again"
        )
    return HubModel(paths[0], paths[1] if config else None)


def _choose(model_id: str, names: Iterable[str]) -> tuple[str, str | None]:
    """Return the checkpoint and the config among a repository's files."""
    names = sorted(names)
    checkpoints = [name for name in names if name.endswith(CHECKPOINT_SUFFIXES)]
    if len(checkpoints) != 1:
        found = ", ".join(checkpoints) or "none"
        raise ModelError(
            f"{model_id} has {len(checkpoints)} checkpoints ({found}): expected one file that ends in .pt or .pth, as "
            "sam2 publishes them. Fetch the one that you want, and set model.name to its path"
        )
    configs = [name for name in names if PurePosixPath(name).suffix in CONFIG_SUFFIXES]
    return checkpoints[0], configs[0] if len(configs) == 1 else None


def _bar(progress: Callable[[int, int], None]) -> Any:
    """Return a progress bar for the library that draws nothing and calls a function."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **kwargs | {"disable": False})

        def display(self, *_args: Any, **_kwargs: Any) -> None:
            progress(int(self.n), int(self.total or self.n))

    return Bar


def _first_line(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return redact(text.rstrip("."))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
