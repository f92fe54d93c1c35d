"""``streamseg state``: show or clear what a daemon keeps for its next start."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="What a daemon keeps on disk for its next start.", no_args_is_help=True)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The daemon's configuration file.")]


@app.command()
def show(
    config: ConfigFile,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the streams and objects that come back when the daemon is started again.

    [bold]Example[/bold]

      streamseg state show cameras.yaml
    """
    from streamseg.config.load import load_config
    from streamseg.errors import StateError
    from streamseg.protocol.text import encode_json
    from streamseg.state.daemon_record import MAX_BYTES, decode_record
    from streamseg.state.folder import StateFolder
    from streamseg.state.place import RECORD, state_folder

    settings = load_config(config).state
    path = state_folder(config, settings.path)
    folder = StateFolder(path, durable=False)
    data = folder.read(RECORD, MAX_BYTES)
    try:
        record = None if data is None else decode_record(data)
    except StateError as error:
        raise StateError(f"{path / RECORD}: {error}") from None
    snapshots = folder.streams()
    found: list[dict[str, Any]] = [
        {
            "stream": stream,
            "added_on_request": entry.settings is not None,
            "objects": [{"id": obj.obj_id, "label": obj.label} for obj in entry.saved.objects],
            "memory_bytes": snapshots[stream].st_size if stream in snapshots else 0,
            "memory_age_s": round(time.time() - snapshots[stream].st_mtime, 1) if stream in snapshots else None,
        }
        for stream, entry in (record.streams if record is not None else {}).items()
    ]
    if as_json:
        print(encode_json({"path": str(path), "keep": settings.keep, "streams": found}).decode())
        return
    print(f"{path}{'' if settings.keep else ' (not used: state.keep is false)'}")
    if not found:
        print("  nothing is kept")
    for entry in found:
        objects = ", ".join(f"{obj['id']} {obj['label']}".strip() for obj in entry["objects"]) or "no objects"
        where = " (added on request)" if entry["added_on_request"] else ""
        age = entry["memory_age_s"]
        memory = "no memory" if age is None else f"memory {entry['memory_bytes'] / 1e6:.1f} MB, {age:.0f} s old"
        print(f"  stream {entry['stream']}{where}: {objects}; {memory}")


@app.command()
def clear(config: ConfigFile) -> None:
    """Remove the kept state. The daemon must not be running.

    [bold]Example[/bold]

      streamseg state clear cameras.yaml
    """
    from streamseg.config.load import load_config
    from streamseg.errors import StateError
    from streamseg.state.folder import StateFolder
    from streamseg.state.place import StateLock, state_folder

    path = state_folder(config, load_config(config).state.path)
    if not path.exists():
        print(f"{path}: nothing is kept")
        return
    try:
        lock = StateLock(path)
    except StateError as error:
        raise StateError(f"{error}: stop that daemon first") from None
    try:
        StateFolder(path, durable=False).clear()
    finally:
        lock.release()
    print(f"{path}: removed")
