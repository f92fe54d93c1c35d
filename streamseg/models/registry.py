"""The table of models, and the resolution of the model setting: a name, path or Hub id -> config and checkpoint.

Meta publishes no digests. The sizes and digests here come from public projects that record them for Meta's addresses;
at least three agree on each. Imports no torch, so that the command line can list models quickly.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from streamseg.errors import ModelError
from streamseg.models.huggingface import CHECKPOINT_SUFFIXES, CONFIG_SUFFIXES, find_local, is_model_id
from streamseg.paths import cache_directory

ModelKind = Literal["sam2", "echo", "color"]

_META: Final = "https://dl.fbaipublicfiles.com/segment_anything_2"
_SIZES: Final = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A weights file that can be downloaded.

    Attributes:
        url: The publisher's address.
        nbytes: Its exact size.
        sha256: Its digest, in lower-case hexadecimal.
    """

    url: str
    nbytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        """Name of the file, the same at the publisher and in our directory."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A named model.

    Attributes:
        name: Its full name.
        kind: Tracker that runs it: SAM 2, or one without a network.
        config: For ``sam2``, a config name of the sam2 package or the absolute path of a YAML file; else empty.
        checkpoint: Its weights; None if there are none to fetch.
        about: One line of description.
        packaged: Its weights, if they ship with streamseg.
    """

    name: str
    kind: ModelKind
    config: str
    checkpoint: Checkpoint | None
    about: str
    packaged: Path | None = None


class ModelSettings(Protocol):
    """The settings that choose a model: part of ``model`` in a configuration."""

    @property
    def name(self) -> str:
        """A name of :data:`MODELS`, an alias, the path of a checkpoint, or an id of the Hugging Face Hub."""
        ...

    @property
    def config(self) -> str | None:
        """The config, for a checkpoint given by its path or id."""
        ...


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that the worker can build.

    Attributes:
        name: The model's full name or its id; for a path, the file name without the suffix.
        kind: Tracker that runs it.
        config: For ``sam2``, a config name of the sam2 package (``configs/...``) or the absolute path of a YAML file;
            else empty.
        checkpoint: The existing weights file; None if it is not a network.
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
        about="no network: tracks the prompt's color; for tests and demonstrations of the pipeline",
    ),
)

MODELS: Final[dict[str, ModelEntry]] = {entry.name: entry for entry in _ENTRIES}
"""Name -> model, in display order."""

ALIASES: Final[dict[str, str]] = {
    **{size: f"sam2.1_hiera_{size}" for size in _SIZES},
    **{f"{family}_{size}": f"{family}_hiera_{size}" for family in ("sam2.1", "sam2") for size in _SIZES},
    "colour": "color",
    "fixed": "echo",
}
"""Short name -> name. Case is ignored, and ``-`` equals ``_``, ``+`` equals ``_plus``."""

_BY_FILE_NAME: Final = {entry.checkpoint.file_name: entry for entry in _ENTRIES if entry.checkpoint is not None}
_SAM2_CONFIGS: Final = {Path(entry.config).name: entry.config for entry in _BY_FILE_NAME.values()}


def models_directory() -> Path:
    """Return the folder of checkpoints: ``$STREAMSEG_MODELS``, or ``streamseg/models`` in the user's cache.

    It may not exist yet.
    """
    if own := os.environ.get("STREAMSEG_MODELS"):
        return Path(own).expanduser().absolute()
    return cache_directory() / "models"


def find(name: str) -> ModelEntry:
    """Return the model with that name or alias.

    Raises:
        ModelError: There is none; the message suggests the closest name.
    """
    wanted = name.strip().lower().replace("-", "_").replace("+", "_plus")
    entry = MODELS.get(ALIASES.get(wanted, wanted))
    if entry is None:
        raise ModelError(f"model {name!r} is unknown: {_nearest(wanted, [*MODELS, *ALIASES])}")
    return entry


def is_checkpoint_path(name: str) -> bool:
    """Return whether a model's name has the form of a path: it has a ``/`` or ends in ``.pt`` or ``.pth``.

    An id of the Hugging Face Hub (``owner/name``) does not. If such a name is an existing path,
    :func:`streamseg.config.relative.model_name_at` has already made it absolute.
    """
    return ("/" in name or name.endswith(CHECKPOINT_SUFFIXES)) and not is_model_id(name)


def kind_of(name: str) -> ModelKind:
    """Return the kind of tracker that runs a model with that name, path or id.

    Raises:
        ModelError: It is neither a path nor an id, and the name is unknown.
    """
    return "sam2" if is_model_id(name) or is_checkpoint_path(name) else find(name).kind


def resolve(settings: ModelSettings) -> ResolvedModel:
    """Resolve the model setting to existing files. Downloads nothing.

    Relative paths start at the working directory.

    Raises:
        ModelError: The name is unknown, or a file is missing; the message says how to get it.
    """
    if is_checkpoint_path(settings.name):
        return _resolve_path(Path(settings.name).expanduser().absolute(), settings.config)
    if is_model_id(settings.name):
        return _resolve_id(settings.name, settings.config)
    entry = find(settings.name)
    if settings.config is not None:
        raise ModelError(
            f"model.config {settings.config!r} is for the path or id of a checkpoint; {settings.name!r} is the name of "
            "a model with a config of its own: remove model.config"
        )
    if entry.checkpoint is None:
        return ResolvedModel(entry.name, entry.kind, entry.config, entry.packaged)
    path = models_directory() / entry.checkpoint.file_name
    _check_checkpoint(path, entry.name, entry.checkpoint)
    return ResolvedModel(entry.name, entry.kind, entry.config, path)


def _check_checkpoint(path: Path, name: str, checkpoint: Checkpoint) -> None:
    """Check only the size: the digest was checked after the download, and takes a second for a large file."""
    if not path.is_file():
        raise ModelError(
            f"model {name!r} has no checkpoint at {path}: run `streamseg models pull {name}` "
            f"({checkpoint.nbytes / 2**20:.0f} MiB). Without a network, fetch {checkpoint.url} elsewhere and put it "
            f"there (or set STREAMSEG_MODELS to its folder); its sha256 is {checkpoint.sha256}"
        )
    if (size := path.stat().st_size) != checkpoint.nbytes:
        raise ModelError(
            f"{path} has {size} bytes, expected {checkpoint.nbytes}: it is incomplete or another file: "
            f"run `streamseg models pull {name}`, or fetch {checkpoint.url} again and put it there"
        )


def _resolve_path(path: Path, config: str | None) -> ResolvedModel:
    if not path.is_file():
        hint = f", or use the name {path.stem!r}" if path.name in _BY_FILE_NAME else ""
        raise ModelError(f"there is no checkpoint at {path}: correct model.name{hint}")
    return ResolvedModel(path.stem, "sam2", _config_of(path, config), path)


def _resolve_id(model_id: str, config: str | None) -> ResolvedModel:
    found = find_local(model_id)
    if found is None:
        raise ModelError(
            f"there is no file {model_id!r}, and the model of that id is not in this machine's cache of the Hugging "
            f"Face Hub: run `streamseg models pull {model_id}`, or correct model.name"
        )
    if config is None and found.checkpoint.name not in _BY_FILE_NAME and found.config is not None:
        return ResolvedModel(model_id, "sam2", str(found.config), found.checkpoint)
    return ResolvedModel(model_id, "sam2", _config_of(found.checkpoint, config), found.checkpoint)


def _config_of(checkpoint: Path, config: str | None) -> str:
    """Return the config of a checkpoint: the configured one, or the one for Meta's file of the same name."""
    if config is not None:
        return _find_config(config)
    if checkpoint.name not in _BY_FILE_NAME:
        raise ModelError(
            f"checkpoint {checkpoint} needs its config: set model.config (or --model-config) to one of "
            f"{', '.join(_SAM2_CONFIGS)}, or to the path of a YAML file"
        )
    return _BY_FILE_NAME[checkpoint.name].config


def _find_config(config: str) -> str:
    """Accept a config name of sam2 with or without its folder, the name of a model, or the path of a YAML file."""
    path = Path(config).expanduser().absolute()
    if path.is_file():
        return str(path)
    if config in _SAM2_CONFIGS.values():
        return config
    if config in _SAM2_CONFIGS:
        return _SAM2_CONFIGS[config]
    if not config.endswith(CONFIG_SUFFIXES) and find(config).kind == "sam2":
        return find(config).config
    raise ModelError(
        f"model.config {config!r} is neither a file nor a config of sam2: {_nearest(config, list(_SAM2_CONFIGS))}"
    )


def _nearest(wanted: str, known: list[str]) -> str:
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
