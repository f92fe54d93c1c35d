"""``streamseg models``: list models, download them, show their paths."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="List models, download their checkpoints, show their paths.", no_args_is_help=True)


@app.command("list")
def list_models() -> None:
    """List all models, and which are installed.

    [bold]Example[/bold]

      streamseg models list
    """
    from rich.console import Console
    from rich.table import Table

    from streamseg.models.registry import ALIASES, MODELS, models_directory

    table = Table(box=None, pad_edge=False)
    for title in ("name", "short", "size", "installed", "about"):
        table.add_column(title, no_wrap=title != "about")
    for entry in MODELS.values():
        short = next((alias for alias, name in ALIASES.items() if name == entry.name), "")
        packaged_bytes = entry.packaged.stat().st_size if entry.packaged else 0
        nbytes = entry.checkpoint.nbytes if entry.checkpoint else packaged_bytes
        size = f"{nbytes / 2**20:.0f} MiB" if nbytes else "-"
        here = entry.checkpoint is None or (models_directory() / entry.checkpoint.file_name).is_file()
        table.add_row(entry.name, short, size, "yes" if here else "no", entry.about)
    console = Console()
    if not console.is_terminal:
        # For a program or a pager, do not wrap lines at the default width of a terminal.
        console = Console(width=200)
    console.print(table)
    print(f"\nCheckpoints are in {models_directory()} (set STREAMSEG_MODELS to change this).")


@app.command()
def pull(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A name of 'streamseg models list', or an id of the Hugging Face Hub (OWNER/NAME)."
        ),
    ],
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Download from this http(s) address instead of the publisher's."),
    ] = None,
) -> None:
    """Download a model's checkpoint, resume a partial download, and verify the digest.

    [bold]Example[/bold]

      streamseg models pull small

      streamseg models pull facebook/sam2.1-hiera-tiny
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from streamseg.models import download

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        path = download.pull(
            name, base_url=mirror, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    print(path)


@app.command("path")
def show_path(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A model. Default: the directory of all models.")
    ] = None,
) -> None:
    """Print the path of a model's checkpoint, or the directory of all models.

    [bold]Examples[/bold]

      streamseg models path

      streamseg models path small
    """
    from streamseg.errors import ModelError
    from streamseg.models.huggingface import find_local, is_model_id
    from streamseg.models.registry import find, models_directory

    if name is None:
        print(models_directory())
        return
    if is_model_id(name):
        local = find_local(name)
        if local is None:
            raise ModelError(f"model {name!r} is not here: run `streamseg models pull {name}`")
        print(local.checkpoint)
        return
    entry = find(name)
    if entry.packaged is not None:
        print(entry.packaged)
        return
    if entry.checkpoint is None:
        raise ModelError(f"model {entry.name!r} has no checkpoint and needs none")
    path = models_directory() / entry.checkpoint.file_name
    if not path.is_file():
        raise ModelError(
            f"model {entry.name!r} is not installed: run `streamseg models pull {name}` (expected at {path})"
        )
    print(path)
