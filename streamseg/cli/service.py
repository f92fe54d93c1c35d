"""``streamseg service``: install, inspect and remove the daemon as a systemd service."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streamseg.errors import ServiceError

if TYPE_CHECKING:
    from streamseg.service.install import Step
    from streamseg.service.layout import ServiceLayout

app = typer.Typer(help="Install the daemon as a systemd service, and look after it.", no_args_is_help=True)

_INSTANCE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

User = Annotated[
    bool | None,
    typer.Option("--user/--system", help="For this user or for the system; default: the system if run as root."),
]
Instance = Annotated[
    str,
    typer.Option("--name", help="One of several services on a machine: its own configuration NAME.yaml and sockets."),
]
Root = Annotated[Path, typer.Option("--root", help="Write below this folder, as for a system image. Starts nothing.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")]


@app.command()
def install(
    config: Annotated[
        Path | None, typer.Option("--config", help="Configuration to install; default: one without streams.")
    ] = None,
    user: User = None,
    name: Instance = "streamseg",
    root: Root = Path("/"),
    replace: Annotated[bool, typer.Option("--replace", help="Replace another configuration.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Install the service, enable it at boot and start it. Running it again does only what is missing.

    [bold]Examples[/bold]

      sudo /opt/streamseg/bin/streamseg service install --config cameras.yaml

      streamseg service install --user
    """
    from streamseg.service.install import plan_install

    layout = _layout(user, name, root, needs_root=not dry_run)
    steps = plan_install(layout, config, replace=replace)
    _do(steps, dry_run)
    if not steps:
        print(f"{layout.unit} is installed and runs: nothing to do")
    print(f"configuration: {layout.at_root(layout.config)}; secrets: {layout.at_root(layout.environment)}")
    print(f"query it with: streamseg status --control {layout.control}")


@app.command()
def uninstall(
    user: User = None,
    name: Instance = "streamseg",
    root: Root = Path("/"),
    purge: Annotated[bool, typer.Option("--purge", help="Remove configuration, state and models, too.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Stop and remove the service. Configuration, state and models stay unless you give --purge.

    [bold]Example[/bold]

      sudo streamseg service uninstall
    """
    from streamseg.service.install import left_behind, plan_uninstall

    layout = _layout(user, name, root, needs_root=not dry_run)
    steps = plan_uninstall(layout, purge=purge)
    _do(steps, dry_run)
    if not steps:
        print(f"{layout.unit} is not installed")
    for path in [] if purge else left_behind(layout):
        print(f"left: {layout.at_root(path)}")


@app.command()
def status(user: User = None, name: Instance = "streamseg") -> None:
    """Show the service's state and last log lines, as known to systemd.

    [bold]Example[/bold]

      streamseg service status
    """
    layout = _layout(user, name, Path("/"), needs_root=False)
    _become(["systemctl", *_user_option(layout), "status", "--no-pager", layout.unit])


@app.command()
def logs(
    user: User = None,
    name: Instance = "streamseg",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines.")] = False,
) -> None:
    """Show the service's log.

    [bold]Example[/bold]

      streamseg service logs -f
    """
    layout = _layout(user, name, Path("/"), needs_root=False)
    option = "--user-unit" if layout.scope == "user" else "--unit"
    _become(["journalctl", f"{option}={layout.unit}", *(["--follow"] if follow else ["--no-pager"])])


def _layout(user: bool | None, name: str, root: Path, *, needs_root: bool) -> ServiceLayout:
    from streamseg.service.layout import system_layout, user_layout

    if not _INSTANCE.fullmatch(name):
        raise typer.BadParameter(f"{name!r}: use a-z, 0-9, _ and -, at most 32", param_hint="--name")
    if user if user is not None else os.geteuid() != 0:
        return user_layout(name, root.absolute())
    if needs_root and root == Path("/") and os.geteuid() != 0:
        raise ServiceError("a system service is installed by root: use sudo, or --user for a service of your own")
    return system_layout(name, root.absolute())


def _do(steps: list[Step], dry_run: bool) -> None:
    for step in steps:
        print(f"{'would ' if dry_run else ''}{step.text}", flush=True)
        if not dry_run:
            step.do()


def _user_option(layout: ServiceLayout) -> list[str]:
    return ["--user"] if layout.scope == "user" else []


def _become(command: list[str]) -> None:
    """Replace this process with a systemd program, which has its own pager, signals and exit code."""
    sys.stdout.flush()
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        raise ServiceError(f"there is no {command[0]} on this machine: the service needs systemd") from None
