"""``streamseg prompt``: the tracked objects of a running daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from streamseg.cli.daemon_options import AsJson, Control, Key, ServerKey, daemon_at, print_json, print_table
from streamseg.cli.prompt_options import CoordsOption, prompt_of

if TYPE_CHECKING:
    from streamseg.protocol.results import ObjectEntry, PromptResult

app = typer.Typer(help="Add, correct and remove tracked objects of a running daemon.", no_args_is_help=True)

Stream = Annotated[str, typer.Argument(metavar="STREAM", help="Id of the stream.")]


@app.command()
def add(
    stream: Stream,
    point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y",
            help="A point on the object; X,Y,0 is a point not on it. In pixels, or in percent: 50%,40%.",
        ),
    ] = None,
    box: Annotated[str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the object.")] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An image of the object's mask, of the video's size.")
    ] = None,
    coords: CoordsOption = None,
    obj_id: Annotated[
        int | None, typer.Option("--object", min=1, metavar="ID", help="Correct this object. Default: track a new one.")
    ] = None,
    label: Annotated[str, typer.Option(metavar="TEXT", help="Name of the object.")] = "",
    frame: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="The frame that the marks refer to. Default: the newest.")
    ] = None,
    newest: Annotated[
        bool, typer.Option("--or-newest", help="If that frame is no longer held, use the newest.")
    ] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Only report the mask; track nothing.")] = False,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="Report the three masks that an ambiguous click can mean; track none.")
    ] = False,
    candidate: Annotated[
        int | None, typer.Option(min=1, max=3, metavar="N", help="Take the Nth of those masks, 1 is the best.")
    ] = None,
    control: Control = None,
    key: Key = None,
    server_key: ServerKey = None,
    as_json: AsJson = False,
) -> None:
    """Track a new object, or correct one.

    [bold]Examples[/bold]

      streamseg prompt add cam --point 50%,40% --label cup

      streamseg prompt add cam --object 3 --point 410,220,0
    """
    from streamseg.errors import ConfigError

    marks = prompt_of(point or (), box, mask, coords)
    if marks is None:
        raise ConfigError("nothing to track: use --point, --box or --mask, for example --point 50%,40%")
    with _in_options(), daemon_at(control, key, server_key) as daemon:
        result = daemon.add_prompt(
            stream,
            object_id=obj_id,
            label=label,
            points=marks.get("points", ()),
            box=marks.get("box"),
            mask=_mask(mask),
            coords=marks.get("coords", "pixels"),
            frame=frame,
            on_expired="newest" if newest else "error",
            preview=preview or candidates,
            candidates=3 if candidates else 1,
            candidate=None if candidate is None else candidate - 1,
        )
    if as_json:
        print_json(result)
        return
    for number, offered in enumerate(result.candidates, 1):
        x, y, w, h = offered.bbox
        print(f"candidate {number}: {offered.area} pixels in {w}x{h} at {x},{y}, score {offered.score:.2f}")
    if result.candidates:
        return
    x, y, w, h = result.bbox
    name = f"object {result.object_id}" if result.object_id else "a new object"
    started = result.new or result.restarted
    what = "would be" if preview else "is tracked from" if started else "was corrected on"
    again = " (again: its memory did not find it there)" if result.restarted else ""
    where = f"frame {result.frame}" if not preview else f"on frame {result.frame}"
    print(f"{name} {what} {where}: {result.area} pixels in {w}x{h} at {x},{y}, score {result.score:.2f}{again}")
    if marked := _in_pixels(result):
        print(f"marked in pixels of {result.size[0]}x{result.size[1]}: {marked}")


@contextmanager
def _in_options() -> Iterator[None]:
    """Make errors name options instead of fields of a request."""
    from streamseg.cli.option_words import option_words
    from streamseg.errors import ControlError

    try:
        yield
    except ControlError as error:
        raise ControlError(error.code, option_words(error.message), error.retryable) from None


_CHANGES: Final = {
    "add_prompt": "a prompt",
    "set_prompts": "the new set of prompts",
    "remove_object": "the removal of an object",
    "reset": "the removal of all objects",
    "label_object": "a name",
}


def _in_pixels(result: PromptResult) -> str:
    """Return the marks as the daemon interpreted them."""
    marks = [f"point {x:.5g},{y:.5g}{'' if label else ' (not on it)'}" for x, y, label in result.points_px]
    if result.box_px is not None:
        marks.append("box " + ",".join(f"{edge:.5g}" for edge in result.box_px))
    return ", ".join(marks)


def _mask(path: Path | None) -> Any:
    if path is None:
        return None
    from streamseg.common.mask_file import read_mask

    return read_mask(path)


@app.command()
def remove(
    stream: Stream,
    obj_id: Annotated[int, typer.Argument(metavar="OBJECT", min=1, help="Id of the object.")],
    control: Control = None,
    key: Key = None,
    server_key: ServerKey = None,
) -> None:
    """Stop tracking an object.

    [bold]Example[/bold]

      streamseg prompt remove cam 3
    """
    with daemon_at(control, key, server_key) as daemon:
        daemon.remove_object(stream, obj_id)
    print(f"object {obj_id} of {stream} is no longer tracked")


@app.command()
def undo(
    stream: Stream,
    obj_id: Annotated[
        int | None,
        typer.Argument(metavar="[OBJECT]", min=1, help="Undo its last prompt. Default: the stream's last change."),
    ] = None,
    control: Control = None,
    key: Key = None,
    server_key: ServerKey = None,
) -> None:
    """Undo the last change of a stream (a prompt, a removal, a reset or a name), or an object's last prompt.

    [bold]Examples[/bold]

      streamseg prompt undo cam

      streamseg prompt undo cam 3
    """
    with daemon_at(control, key, server_key) as daemon:
        if obj_id is None:
            change = daemon.undo(stream)
            objects = ", ".join(str(changed) for changed in change.object_ids) or "no object"
            what = _CHANGES.get(change.op, change.op)
            print(f"undid {what} of {stream} (objects: {objects}); {change.left} more can be undone")
            return
        undone = daemon.undo_prompt(stream, obj_id)
    gone = ", which removed it: it had no other" if undone.prompts == 0 else ""
    print(f"undid the last prompt of object {obj_id} of {stream}{gone}")


@app.command()
def label(
    stream: Stream,
    obj_id: Annotated[int, typer.Argument(metavar="OBJECT", min=1, help="Id of the object.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Its new name.")],
    control: Control = None,
    key: Key = None,
    server_key: ServerKey = None,
) -> None:
    """Rename an object.

    [bold]Example[/bold]

      streamseg prompt label cam 3 cup
    """
    with daemon_at(control, key, server_key) as daemon:
        daemon.label_object(stream, obj_id, text)
    print(f"object {obj_id} of {stream} is now called {text!r}")


@app.command("list")
def list_objects(
    stream: Annotated[str | None, typer.Argument(metavar="STREAM", help="Only this stream.")] = None,
    control: Control = None,
    key: Key = None,
    server_key: ServerKey = None,
    as_json: AsJson = False,
) -> None:
    """List the tracked objects.

    [bold]Example[/bold]

      streamseg prompt list
    """
    with daemon_at(control, key, server_key) as daemon:
        streams = daemon.list(stream)
    if as_json:
        print_json(streams)
        return
    rows = [(one.stream, *_cells(obj)) for one in streams for obj in one.objects]
    if rows:
        print_table([("STREAM", "ID", "STATE", "SCORE", "PROMPTS", "BOX", "LABEL"), *rows])
    else:
        print("no objects")


def _cells(obj: ObjectEntry) -> tuple[str, ...]:
    x, y, w, h = obj.bbox
    box = f"{w}x{h} at {x},{y}" if obj.area else "-"
    return str(obj.id), obj.state, f"{obj.score:.2f}", str(obj.prompts), box, obj.label


@app.command()
def reset(stream: Stream, control: Control = None, key: Key = None, server_key: ServerKey = None) -> None:
    """Remove all objects of a stream.

    [bold]Example[/bold]

      streamseg prompt reset cam
    """
    with daemon_at(control, key, server_key) as daemon:
        daemon.reset(stream)
    print(f"all objects of {stream} are removed")
