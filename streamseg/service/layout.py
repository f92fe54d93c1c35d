"""Paths of an installed service, for the system and for one user.

Follows the file hierarchy of systemd (``file-hierarchy(7)``) and, for a user, the XDG base directories.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streamseg.paths import cache_directory, xdg_directory

Scope = Literal["system", "user"]

DEFAULT_INSTANCE = "streamseg"
"""The instance whose unit is plain ``streamseg.service``."""


@dataclass(frozen=True, slots=True)
class ServiceLayout:
    """The files of one instance.

    Attributes:
        scope: Whose service manager runs it.
        instance: Its name, which is also its configuration's.
        root: Prefix of every written path; ``/`` except in image builds and tests.
        unit_folder: Unit files.
        config_folder: Configurations and the environment file.
        state: Models and saved state.
        cache: Compiled code.
        runtime: Sockets.
    """

    scope: Scope
    instance: str
    root: Path
    unit_folder: Path
    config_folder: Path
    state: Path
    cache: Path
    runtime: Path

    @property
    def unit(self) -> str:
        """Name of the unit."""
        return "streamseg.service" if self.instance == DEFAULT_INSTANCE else f"streamseg@{self.instance}.service"

    @property
    def unit_file(self) -> Path:
        """File of the unit; instances share a template."""
        name = "streamseg.service" if self.instance == DEFAULT_INSTANCE else "streamseg@.service"
        return self.unit_folder / name

    @property
    def config(self) -> Path:
        """The instance's configuration."""
        return self.config_folder / f"{self.instance}.yaml"

    @property
    def environment(self) -> Path:
        """Secrets that configurations name as ``${NAME}``."""
        return self.config_folder / "environment"

    @property
    def control(self) -> str:
        """Where the instance takes requests."""
        return f"ipc://{self.runtime}/streamseg-control"

    def at_root(self, path: Path) -> Path:
        """Return the location of an installed path below the root."""
        return self.root / path.relative_to("/")


def system_layout(instance: str, root: Path = Path("/")) -> ServiceLayout:
    """Return the paths of a system service."""
    name = _folder_name(instance)
    return ServiceLayout(
        scope="system",
        instance=instance,
        root=root,
        unit_folder=Path("/etc/systemd/system"),
        config_folder=Path("/etc/streamseg"),
        state=Path("/var/lib/streamseg"),
        cache=Path("/var/cache/streamseg"),
        runtime=Path("/run") / name,
    )


def user_layout(instance: str, root: Path = Path("/")) -> ServiceLayout:
    """Return the paths of a service of the calling user."""
    config = xdg_directory("XDG_CONFIG_HOME", ".config")
    return ServiceLayout(
        scope="user",
        instance=instance,
        root=root,
        unit_folder=config / "systemd/user",
        config_folder=config / "streamseg",
        state=xdg_directory("XDG_STATE_HOME", ".local/state") / "streamseg",
        cache=cache_directory(),
        runtime=xdg_directory("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}") / _folder_name(instance),
    )


def _folder_name(instance: str) -> str:
    return "streamseg" if instance == DEFAULT_INSTANCE else f"streamseg-{instance}"
