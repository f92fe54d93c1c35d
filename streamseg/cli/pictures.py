"""Shared by the picture commands: finding files, reading them, and writing results."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamseg.cli.print_line import print_line
from streamseg.errors import ConfigError, StreamsegError
from streamseg.paths import NAME_MAX, shortened_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamseg.images.model import ImageModel

SKIPPED = 4
"""Exit code if a picture was skipped."""

DEFAULT_OUT = Path("masks")

_MAX_STEM_BYTES = NAME_MAX - len("-99999.segment.png")
"""Maximum length of a picture's name: a suffix must fit, too."""

ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="A name of 'streamseg models list', or a checkpoint. Default: nano."),
]
ModelConfigOption = Annotated[
    str | None,
    typer.Option(
        "--model-config", metavar="NAME|FILE", help="With the path of a checkpoint: its sam2 config or YAML file."
    ),
]
ImageSizeOption = Annotated[
    int | None,
    typer.Option("--image-size", metavar="PX", help="Side of the model's input. Default: the model's own."),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="auto|cpu|cuda", help="Device of the model. Default: auto.")
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="auto|float32|bfloat16",
        help="Precision. Default: float32; bfloat16 is faster where the hardware has it, and nearly as good.",
    ),
]


def load(settings: dict[str, Any]) -> ImageModel:
    """Load the model of a command; None means the default of a setting."""
    from streamseg.images.model import load_model

    given = {name: value for name, value in settings.items() if value is not None}
    size, dtype, device = given.get("image_size"), given.get("dtype", "auto"), given.get("device", "auto")
    if dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise ConfigError(f"dtype {dtype!r} is unknown: expected auto, float32, bfloat16 or float16")
    if device not in ("auto", "cpu", "cuda") and not str(device).removeprefix("cuda:").isdecimal():
        raise ConfigError(f"device {device!r} is unknown: expected auto, cpu, cuda or cuda:N")
    if size is not None and not (isinstance(size, int) and 64 <= size <= 2048 and size % 32 == 0):
        raise ConfigError(f"image_size {size!r} is invalid: expected a whole number from 64 to 2048, a multiple of 32")
    return load_model(**given)


def find_pictures(arguments: list[str]) -> Iterator[Path | SkippedPictureError]:
    """Yield the files of arguments (files, folders, patterns), each once; an error for an argument without files."""
    from streamseg.errors import SourceOpenError
    from streamseg.sources.image_list import list_images

    seen = set()
    for argument in arguments:
        try:
            found = list_images(Path(argument).expanduser())
        except SourceOpenError as error:
            yield SkippedPictureError(str(error))
            continue
        for path in found:
            if path.absolute() not in seen:
                seen.add(path.absolute())
                yield path


class SkippedPictureError(StreamsegError):
    """A picture cannot be used. The message names it."""

    exit_code = SKIPPED


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture as ``uint8 [H, W, 3]`` RGB.

    Raises:
        SkippedPictureError: It is broken, empty or huge.
    """
    import cv2

    from streamseg.common.image_file import ImageError
    from streamseg.sources.images import read_rgb

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # errors are reported here, not on stderr
    try:
        return read_rgb(path)
    except ImageError as error:
        raise SkippedPictureError(f"{path}: {error}") from None


def write_png(path: Path, picture: NDArray[Any]) -> None:
    """Write a PNG file of gray, RGB or RGBA pixels, and its folder.

    Raises:
        StreamsegError: It cannot be written.
    """
    import cv2

    to_bgr = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    pixels = picture if picture.ndim == 2 else cv2.cvtColor(picture, to_bgr[picture.shape[2]])
    encoded, data = cv2.imencode(".png", pixels)
    if not encoded:
        raise StreamsegError(f"{path} cannot be written: a picture of shape {picture.shape} does not fit into a PNG")
    write_file(path, data.tobytes())


def write_file(path: Path, content: bytes) -> None:
    """Write a file and its folder.

    Raises:
        StreamsegError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise StreamsegError(f"{path} cannot be written ({error.strerror or error}): choose another -o") from None


class OutputNames:
    """Names result files in one folder after their pictures, each name once.

    Args:
        out: The folder, or a file that ends in ``.png`` for a single picture.
        pictures: How many pictures there are.

    Raises:
        ConfigError: There is one file for several pictures.
    """

    def __init__(self, out: Path, pictures: int) -> None:
        self._file = out if out.suffix.lower() == ".png" and not out.is_dir() else None
        if self._file is not None and pictures > 1:
            raise ConfigError(f"-o {out} is one file, but there are {pictures} pictures: give a folder")
        self.folder = out if self._file is None else out.parent
        self._used: set[str] = set()

    def stem(self, picture: Path) -> str:
        """Return the name for a picture's files: its own, with a number if that is taken.

        If an output file was given, its name, so that other results written next to it match.
        """
        if self._file is not None:
            return shortened_name(self._file.stem, _MAX_STEM_BYTES)
        own = shortened_name(picture.stem, _MAX_STEM_BYTES)
        name, number = own, 1
        while name in self._used:
            number += 1
            name = f"{own}-{number}"
        self._used.add(name)
        return name

    def drawing(self, stem: str, what: str) -> Path:
        """Return the file of the picture with its masks: ``STEM.WHAT.png``, unless a file was given."""
        return self._file or self.folder / f"{stem}.{what}.png"


def show(title: str, picture: NDArray[np.uint8]) -> None:
    """Show a picture in a window until the user closes it."""
    import time

    from streamseg.cli.window import Window

    window = Window(title)
    try:
        is_open = window.show(picture)
        while is_open:
            time.sleep(0.02)
            is_open = window.is_open()
    finally:
        window.close()


def check_window() -> None:
    """Refuse ``--show`` if no window can be opened.

    Raises:
        ConfigError: There is no display, or OpenCV has no windows.
    """
    from streamseg.cli.window import window_obstacle

    if (obstacle := window_obstacle()) is not None:
        raise ConfigError(f"--show: {obstacle}: write a file with -o")


def print_json(path: Path, size: tuple[int, int], masks: list[dict[str, Any]]) -> None:
    """Print the masks of a picture of (width, height) as one JSON object."""
    from streamseg.protocol.text import encode_json

    content = {"picture": str(path), "width": size[0], "height": size[1], "masks": masks}
    print_line(encode_json(content).decode())


def warn(message: str) -> None:
    """Print a line about a skipped picture."""
    from streamseg.cli.message_lines import plain

    print(plain(f"skipped: {message}"), file=sys.stderr, flush=True)
