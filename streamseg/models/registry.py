"""The table of models, and how a setting becomes a model: name or path -> config and checkpoint.

Digests and sizes were taken from public projects that record them for Meta's own addresses, each agreed on by at
least three; Meta publishes none itself. Imports no torch, so that the command line can list models at once.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from streamseg.errors import ModelError
from streamseg.paths import cache_directory

ModelKind = Literal["sam2", "echo", "color"]

_META: Final = "https://dl.fbaipublicfiles.com/segment_anything_2"
_SIZES: Final = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}
_CHECKPOINT_SUFFIXES: Final = (".pt", ".pth")
_CONFIG_SUFFIXES: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file of weights that can be fetched.

    Attributes:
        url: Where its publisher offers it.
        nbytes: Its exact size.
        sha256: Its digest, in lower-case hexadecimal.
    """

    url: str
    nbytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        """Name of the file, at its publisher's as in our directory."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that has a name.

    Attributes:
        name: Its full name.
        kind: What runs it: the SAM 2 tracker or one of the trackers without a network.
        config: ``sam2``: a config name of the sam2 package, or the absolute path of a YAML file; else empty.
        checkpoint: Its weights; None: there are none to fetch.
        about: One line for people.
        packaged: Its weights, where they come with streamseg.
    """

    name: str
    kind: ModelKind
    config: str
    checkpoint: Checkpoint | None
    about: str
    packaged: Path | None = None


class ModelSettings(Protocol):
    """The settings that choose a model, as ``model`` in a configuration has them."""

    @property
    def name(self) -> str:
        """A name of :data:`MODELS`, an alias, or the path of a checkpoint."""
        ...

    @property
    def config(self) -> str | None:
        """The config of a checkpoint given by its path."""
        ...


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What the worker builds.

    Attributes:
        name: The model's full name; for an own checkpoint, its file name without the suffix.
        kind: What runs it.
        config: ``sam2``: a config name of the sam2 package (``configs/...``), or the absolute path of a YAML file;
            else empty.
        checkpoint: The existing file of weights; None: it has none, being no network.
    """

    name: str
    kind: ModelKind
    config: str
    checkpoint: Path | None


def _meta_entry(version: str, size: str, nbytes: int, sha256: str) -> ModelEntry:
    family, folder = ("sam2.1", "092824") if version == "2.1" else ("sam2", "072824")
    name = f"{family}_hiera_{size}"
    return ModelEntry(
        name=name,
        kind="sam2",
        config=f"configs/{family}/{family}_hiera_{_SIZES[size]}.yaml",
        checkpoint=Checkpoint(f"{_META}/{folder}/{name}.pt", nbytes, sha256),
        about=f"Meta's SAM {version}, {size.replace('_plus', '+')}, for 1024 x 1024",
    )


_ENTRIES: Final = (
    ModelEntry(
        name="nano",
        kind="sam2",
        config=str(Path(__file__).with_name("nano.yaml")),
        checkpoint=None,
        about="streamseg's small model, for demos, tests and small machines; docs/nano.md says how good it is",
        packaged=Path(__file__).with_name("nano.pt"),
    ),
    _meta_entry("2.1", "tiny", 156_008_466, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    _meta_entry("2.1", "small", 184_416_285, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    _meta_entry("2.1", "base_plus", 323_606_802, "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
    _meta_entry("2.1", "large", 898_083_611, "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
    _meta_entry("2", "tiny", 155_906_050, "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125"),
    _meta_entry("2", "small", 184_309_650, "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3"),
    _meta_entry("2", "base_plus", 323_493_298, "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071"),
    _meta_entry("2", "large", 897_952_466, "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b"),
    ModelEntry(
        name="echo",
        kind="echo",
        config="",
        checkpoint=None,
        about="no network: repeats each prompt's mask; shows what the pipeline costs without a model",
    ),
    ModelEntry(
        name="color",
        kind="color",
        config="",
        checkpoint=None,
        about="no network: follows the prompt's color; for tests and demonstrations of the pipeline",
    ),
)

MODELS: Final[dict[str, ModelEntry]] = {entry.name: entry for entry in _ENTRIES}
"""Name -> model, in the order in which they are shown."""

ALIASES: Final[dict[str, str]] = {
    **{size: f"sam2.1_hiera_{size}" for size in _SIZES},
    **{f"{family}_{size}": f"{family}_hiera_{size}" for family in ("sam2.1", "sam2") for size in _SIZES},
    "colour": "color",
    "fixed": "echo",
}
"""Short name -> name. Case, ``-`` for ``_`` and ``+`` for ``_plus`` make no difference either."""

_BY_FILE_NAME: Final = {entry.checkpoint.file_name: entry for entry in _ENTRIES if entry.checkpoint is not None}
_SAM2_CONFIGS: Final = {Path(entry.config).name: entry.config for entry in _BY_FILE_NAME.values()}


def models_directory() -> Path:
    """Return where checkpoints lie: ``$STREAMSEG_MODELS``, else ``streamseg/models`` in the user's cache.

    The directory need not exist.
    """
    if own := os.environ.get("STREAMSEG_MODELS"):
        return Path(own).expanduser().absolute()
    return cache_directory() / "models"


def find(name: str) -> ModelEntry:
    """Return the model of that name or alias.

    Raises:
        ModelError: there is none; the message gives the nearest name.
    """
    wanted = name.strip().lower().replace("-", "_").replace("+", "_plus")
    entry = MODELS.get(ALIASES.get(wanted, wanted))
    if entry is None:
        raise ModelError(f"model {name!r} is unknown: {_nearest(wanted, [*MODELS, *ALIASES])}")
    return entry


def is_checkpoint_path(name: str) -> bool:
    """Return whether a model's name is the path of a checkpoint: it has a ``/`` or ends in ``.pt`` or ``.pth``."""
    return "/" in name or name.endswith(_CHECKPOINT_SUFFIXES)


def resolve(settings: ModelSettings) -> ResolvedModel:
    """Turn the model setting into something that can be built, with all files in place.

    Relative paths start at the working directory.

    Raises:
        ModelError: the name is unknown, or a file is missing; the message says how to get it.
    """
    if is_checkpoint_path(settings.name):
        return _resolve_own(Path(settings.name).expanduser().absolute(), settings.config)
    entry = find(settings.name)
    if settings.config is not None:
        raise ModelError(
            f"model.config {settings.config!r} goes with the path of an own checkpoint, not with the name "
            f"{settings.name!r}: leave it out"
        )
    if entry.checkpoint is None:
        return ResolvedModel(entry.name, entry.kind, entry.config, entry.packaged)
    path = models_directory() / entry.checkpoint.file_name
    _check_checkpoint(path, entry.name, entry.checkpoint)
    return ResolvedModel(entry.name, entry.kind, entry.config, path)


def _check_checkpoint(path: Path, name: str, checkpoint: Checkpoint) -> None:
    """Size only: the digest was checked when it was fetched, and takes a second for a large file."""
    if not path.is_file():
        raise ModelError(
            f"model {name!r} has no checkpoint at {path}: run `streamseg models pull {name}` "
            f"({checkpoint.nbytes / 2**20:.0f} MiB). For a machine without network, fetch {checkpoint.url} elsewhere "
            f"and lay it there (or set STREAMSEG_MODELS to its directory); its sha256 is {checkpoint.sha256}"
        )
    if (size := path.stat().st_size) != checkpoint.nbytes:
        raise ModelError(
            f"{path} has {size} bytes in place of {checkpoint.nbytes}, it is incomplete or something else: "
            f"run `streamseg models pull {name}`, or fetch {checkpoint.url} anew and lay it there"
        )


def _resolve_own(path: Path, config: str | None) -> ResolvedModel:
    if not path.is_file():
        hint = f", or use the name {path.stem!r}" if path.name in _BY_FILE_NAME else ""
        raise ModelError(f"there is no checkpoint at {path}: correct model.name{hint}")
    if config is not None:
        return ResolvedModel(path.stem, "sam2", _own_config(config), path)
    if path.name not in _BY_FILE_NAME:
        raise ModelError(
            f"checkpoint {path} needs its config: set model.config (or give --model-config) to one of "
            f"{', '.join(_SAM2_CONFIGS)}, or to the path of a YAML file"
        )
    return ResolvedModel(path.stem, "sam2", _BY_FILE_NAME[path.name].config, path)


def _own_config(config: str) -> str:
    """Accept a config name of sam2 with or without its folder, the name of a model, or the path of a YAML file."""
    path = Path(config).expanduser().absolute()
    if path.is_file():
        return str(path)
    if config in _SAM2_CONFIGS.values():
        return config
    if config in _SAM2_CONFIGS:
        return _SAM2_CONFIGS[config]
    if not config.endswith(_CONFIG_SUFFIXES) and find(config).kind == "sam2":
        return find(config).config
    raise ModelError(
        f"model.config {config!r} is neither a file nor a config of sam2: {_nearest(config, list(_SAM2_CONFIGS))}"
    )


def _nearest(wanted: str, known: list[str]) -> str:
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(known)}"
