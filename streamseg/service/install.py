"""Install and remove the service through a plan of small steps that can be shown, run and repeated.

A plan contains only missing steps, so a second run completes the first. Ours because a wheel cannot install files
outside its environment.
"""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamseg.common.redact import redact
from streamseg.config.load import load_config
from streamseg.config.moved import settings_that_move
from streamseg.config.schema import Config
from streamseg.errors import ConfigError, ServiceError
from streamseg.models.huggingface import is_model_id
from streamseg.models.registry import find, is_checkpoint_path
from streamseg.service.layout import DEFAULT_INSTANCE, ServiceLayout
from streamseg.service.unit import SYSTEM_USER, SYSUSERS, render_unit

_SYSUSERS_FILE: Final = Path("/etc/sysusers.d/streamseg.conf")
_USER_WANTS: Final = "default.target.wants"
_DEVICE_GROUPS: Final = ("video", "render")
_COMMAND_TIMEOUT_S: Final = 180.0

DEFAULT_CONFIG: Final = """\
# Every setting: docs/configuration.md. `streamseg config check FILE` checks it, `systemctl reload streamseg` applies
# it. Cameras can also be added while it runs, on the page or with `streamseg stream add`.
http: {listen: "127.0.0.1:8080"}
streams: {}
"""

_ENVIRONMENT: Final = """\
# Secrets that the configuration names as ${NAME}, one NAME=value a line, for example:
# CAM_PASSWORD=...
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan.

    Attributes:
        text: Description of the step.
        do: Runs the step.
    """

    text: str
    do: Callable[[], None]


def plan_install(layout: ServiceLayout, config: Path | None, *, replace: bool = False) -> list[Step]:
    """Plan the missing steps until the service is installed and running.

    Args:
        layout: Where everything goes.
        config: The configuration to install; None keeps the installed one, or writes one without streams.
        replace: Whether ``config`` may replace another configuration, which is then kept as ``NAME.yaml.old``.

    Raises:
        ConfigError: the configuration is invalid, or depends on the folder that it is in.
        ServiceError: the service could not run as it would be installed.
    """
    executable = _find_executable(layout)
    text, settings = _configuration(layout, config, replace)
    steps = [*_create_user(layout), *_create_folders(layout)]
    if text is not None:
        steps.append(_write(layout, layout.config, text, mode=0o640, keep_old=True))
    if not layout.at_root(layout.environment).exists():
        steps.append(_write(layout, layout.environment, _ENVIRONMENT, mode=0o600))
    steps += _pull_model(layout, settings)
    groups = [name for name in _DEVICE_GROUPS if _group_exists(name)]
    unit = render_unit(layout, executable, groups)
    unit_path = layout.at_root(layout.unit_file)
    changed = not unit_path.exists() or unit_path.read_text() != unit
    if changed:
        steps.append(_write(layout, layout.unit_file, unit, mode=0o644))
    return steps + list(_start(layout, changed=changed or text is not None))


def plan_uninstall(layout: ServiceLayout, *, purge: bool) -> list[Step]:
    """Plan to stop and remove the service. Configuration, state and models stay unless ``purge``.

    Args:
        layout: Where everything is.
        purge: Whether to remove user files and downloads, too.
    """
    steps = []
    unit_path = layout.at_root(layout.unit_file)
    if unit_path.exists():
        if layout.root == Path("/"):
            steps.append(_systemctl(layout, "disable", "--now", layout.unit))
        elif _is_enabled(layout):
            steps.append(_disable_at_root(layout))
        if layout.instance == DEFAULT_INSTANCE or not _template_is_used(layout):
            steps.append(_remove(unit_path))
        if layout.root == Path("/"):
            steps.append(_systemctl(layout, "daemon-reload"))
    if purge:
        kept = [layout.config] if _other_instances(layout) else [layout.config_folder, layout.state, layout.cache]
        steps += [_remove(layout.at_root(path)) for path in kept if layout.at_root(path).exists()]
        users = layout.at_root(_SYSUSERS_FILE)
        if layout.scope == "system" and users.exists() and not _other_instances(layout):
            steps.append(_remove(users))
    return steps


def left_behind(layout: ServiceLayout) -> list[Path]:
    """Return the paths that an uninstall without ``purge`` leaves."""
    return [path for path in (layout.config_folder, layout.state, layout.cache) if layout.at_root(path).exists()]


def _find_executable(layout: ServiceLayout) -> Path:
    """Return the ``streamseg`` of this environment, which the service will run."""
    executable = Path(sys.executable).with_name("streamseg")
    if not executable.is_file():
        raise ServiceError(f"there is no {executable}: install streamseg with pip or uv in this environment first")
    home_folders = (Path("/home"), Path("/root"), Path("/run/user"))
    if layout.scope == "system" and any(executable.is_relative_to(folder) for folder in home_folders):
        raise ServiceError(
            f"{executable} is in a home folder, which the service may not read: install streamseg elsewhere, for "
            "example python3 -m venv /opt/streamseg && /opt/streamseg/bin/pip install ., and run "
            "/opt/streamseg/bin/streamseg service install; or install it for your user with --user"
        )
    return executable


def _configuration(layout: ServiceLayout, given: Path | None, replace: bool) -> tuple[str | None, Config | None]:
    """Return the text to install, None if the installed one stays, and the settings that will apply."""
    target = layout.at_root(layout.config)
    if given is None:
        if target.exists():
            return None, load_config(target)
        return DEFAULT_CONFIG, None
    settings = load_config(given)
    text = given.read_text(encoding="utf-8")
    if target.exists() and target.read_text(encoding="utf-8") == text:
        return None, settings
    if target.exists() and not replace:
        raise ServiceError(
            f"{target} holds another configuration: edit that file, or give --replace (it is kept as {target.name}.old)"
        )
    if moving := settings_that_move(given, target.parent):
        lines = "\n".join(f"  {line}" for line in moving)
        raise ConfigError(f"{given} has relative paths, which change when it moves to {target}:\n{lines}")
    return text, settings


def _create_user(layout: ServiceLayout) -> Iterator[Step]:
    if layout.scope != "system":
        return
    users = layout.at_root(_SYSUSERS_FILE)
    if not users.exists() or users.read_text() != SYSUSERS:
        yield _write(layout, _SYSUSERS_FILE, SYSUSERS, mode=0o644)
        command = ["systemd-sysusers", *([f"--root={layout.root}"] if layout.root != Path("/") else []), str(users)]
        yield Step(f"create the user {SYSTEM_USER}", lambda: _run(command))


def _create_folders(layout: ServiceLayout) -> Iterator[Step]:
    for path in (layout.config_folder, layout.state / "models", layout.cache):
        place = layout.at_root(path)
        if not place.is_dir():
            yield Step(f"create {place}", lambda place=place: _make_folder(layout, place))  # type: ignore[misc]


def _pull_model(layout: ServiceLayout, settings: Config | None) -> Iterator[Step]:
    """Download the model's checkpoint into the service's state, so that the first start need not."""
    if settings is None or is_checkpoint_path(settings.model.name):
        return
    if is_model_id(settings.model.name):
        yield from _pull_from_hub(layout, settings.model.name)
        return
    checkpoint = find(settings.model.name).checkpoint
    if checkpoint is None:
        return
    folder = layout.at_root(layout.state / "models")
    path = folder / checkpoint.file_name
    if path.is_file() and path.stat().st_size == checkpoint.nbytes:
        return

    def pull() -> None:
        os.environ["STREAMSEG_MODELS"] = str(folder)
        _run([sys.executable, "-P", "-m", "streamseg", "models", "pull", settings.model.name], timeout_s=None)

    yield Step(f"pull {settings.model.name} ({checkpoint.nbytes / 2**20:.0f} MiB) into {folder}", pull)


def _pull_from_hub(layout: ServiceLayout, model_id: str) -> Iterator[Step]:
    folder = layout.at_root(layout.state / "huggingface")
    if (folder / "hub" / f"models--{model_id.replace('/', '--')}").is_dir():
        return

    def pull() -> None:
        os.environ["HF_HOME"] = str(folder)
        _run([sys.executable, "-P", "-m", "streamseg", "models", "pull", model_id], timeout_s=None)

    yield Step(f"pull {model_id} into {folder}", pull)


def _start(layout: ServiceLayout, *, changed: bool) -> Iterator[Step]:
    if layout.root != Path("/"):
        if not _is_enabled(layout):
            yield _enable_at_root(layout)
        return
    if changed:
        yield _systemctl(layout, "daemon-reload")
    if not _is_enabled(layout):
        yield _systemctl(layout, "enable", layout.unit)
    if not _systemctl_says(layout, "is-active"):
        yield _systemctl(layout, "start", layout.unit)
    elif changed:
        yield _systemctl(layout, "restart", layout.unit)


def _is_enabled(layout: ServiceLayout) -> bool:
    if layout.root != Path("/") and layout.scope == "user":
        return _enabling_link(layout).is_symlink()
    return _systemctl_says(layout, "is-enabled")


def _enable_at_root(layout: ServiceLayout) -> Step:
    """Enable a unit below another root. ``systemctl --user`` refuses ``--root``, so a user's link is made here."""
    if layout.scope == "system":
        return _systemctl(layout, "enable", layout.unit)
    link = _enabling_link(layout)

    def enable() -> None:
        _make_folder(layout, link.parent)
        link.symlink_to(layout.unit_file)

    return Step(f"link {link}", enable)


def _disable_at_root(layout: ServiceLayout) -> Step:
    return _systemctl(layout, "disable", layout.unit) if layout.scope == "system" else _remove(_enabling_link(layout))


def _enabling_link(layout: ServiceLayout) -> Path:
    """Return the link that starts a user's unit with the session."""
    return layout.at_root(layout.unit_folder) / _USER_WANTS / layout.unit


def _template_is_used(layout: ServiceLayout) -> bool:
    """Whether another instance of the template has a configuration. The default instance has its own unit."""
    folder = layout.at_root(layout.config_folder)
    without = {layout.instance, DEFAULT_INSTANCE}
    return any(path.stem not in without for path in folder.glob("*.yaml"))


def _write(layout: ServiceLayout, path: Path, text: str, *, mode: int, keep_old: bool = False) -> Step:
    place = layout.at_root(path)

    def write() -> None:
        _make_folder(layout, place.parent)
        if keep_old and place.exists():
            place.replace(place.with_name(place.name + ".old"))
        partial = place.with_name(place.name + ".new")
        partial.unlink(missing_ok=True)
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 - by descriptor, to set the mode at creation
            os.fchmod(fd, mode)
            if keep_old:
                _give_to_service(layout, partial)
            file.write(text)
        partial.replace(place)

    return Step(f"write {place}", write)


def _make_folder(layout: ServiceLayout, place: Path) -> None:
    missing = [folder for folder in (place, *place.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o755)
    owned = (layout.at_root(layout.state), layout.at_root(layout.cache))
    for folder in missing:
        if any(folder == own or folder.is_relative_to(own) for own in owned):
            _give_to_service(layout, folder)


def _give_to_service(layout: ServiceLayout, path: Path) -> None:
    """Make the service's user the owner, if the target system has that user."""
    if layout.scope == "system" and os.geteuid() == 0 and (ids := _user_ids(layout)) is not None:
        os.chown(path, *ids)


def _user_ids(layout: ServiceLayout) -> tuple[int, int] | None:
    """Return the user and group id of the service's user; None before it exists."""
    passwd = layout.at_root(Path("/etc/passwd"))
    lines = passwd.read_text(encoding="utf-8").splitlines() if passwd.exists() else []
    for name, _, uid, gid, *_ in (line.split(":") for line in lines if line.count(":") >= 3):
        if name == SYSTEM_USER:
            return int(uid), int(gid)
    return None


def _remove(path: Path) -> Step:
    def remove() -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    return Step(f"remove {path}", remove)


def _other_instances(layout: ServiceLayout) -> bool:
    """Whether another instance's configuration or unit is installed."""
    folder = layout.at_root(layout.config_folder)
    return any(path.stem != layout.instance for path in folder.glob("*.yaml"))


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _systemctl_command(layout: ServiceLayout, *words: str) -> list[str]:
    options = ["--user"] if layout.scope == "user" else []
    if layout.root != Path("/"):
        options.append(f"--root={layout.root}")
    return ["systemctl", *options, *words]


def _systemctl(layout: ServiceLayout, *words: str) -> Step:
    command = _systemctl_command(layout, *words)
    return Step(" ".join(command), lambda: _run(command))


def _systemctl_says(layout: ServiceLayout, question: str) -> bool:
    command = _systemctl_command(layout, question, "--quiet", layout.unit)
    try:
        return subprocess.run(command, capture_output=True, timeout=_COMMAND_TIMEOUT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _run(command: list[str], timeout_s: float | None = _COMMAND_TIMEOUT_S) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise ServiceError(f"there is no {command[0]} on this machine: the service needs systemd") from None
    except subprocess.TimeoutExpired:
        raise ServiceError(f"{' '.join(command)} did not end within {timeout_s:.0f} s") from None
    if done.returncode != 0:
        raise ServiceError(f"{' '.join(command)} failed: {redact(done.stderr.strip() or done.stdout.strip())}")
