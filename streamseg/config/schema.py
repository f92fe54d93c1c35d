"""Every setting, with its type, its bounds and what it does.

Frozen, so that no process changes a setting behind another's back. The descriptions are shown by
``streamseg config schema`` and a test fails when one is missing.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streamseg.protocol.topics import DEFAULT_ENDPOINT

Seconds = Annotated[float, Meta(gt=0, le=3600)]
Coordinate = Annotated[float, Meta(ge=0)]


class PromptConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An object to follow from a stream's first frame on."""

    object: Annotated[int, Meta(ge=1, le=2**31 - 1, description="Id of the object, yours to choose.")]
    label: Annotated[str, Meta(max_length=100, description="Its name, published with its masks.")] = ""
    points: Annotated[
        tuple[Annotated[tuple[float, ...], Meta(min_length=2, max_length=3)], ...],
        Meta(description="Clicks as [x, y] or [x, y, label]; label 1 is on the object (default), 0 is off."),
    ] = ()
    box: Annotated[
        tuple[float, float, float, float] | None, Meta(description="Box around the object: [x0, y0, x1, y1].")
    ] = None
    mask: Annotated[
        str | None, Meta(description="Picture of the object's mask at video size; not black is the object.")
    ] = None
    coords: Annotated[
        Literal["pixels", "normalized"],
        Meta(description="Unit of points and box: pixels of the video, or 0..1 of its width and height."),
    ] = "pixels"


class StreamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One video source and what to follow in it."""

    source: Annotated[
        str,
        Meta(
            min_length=1,
            description="rtsp://, rtmp://, http:// or https:// (MJPEG, HLS), /dev/video0 or webcam:0, a video file, "
            "a folder of pictures, lavfi:FILTER, or scene:NAME.",
        ),
    ]
    transport: Annotated[Literal["tcp", "udp"], Meta(description="RTSP only: how packets travel.")] = "tcp"
    decoder: Annotated[
        Literal["software", "cuda"],
        Meta(
            description="What decodes video: the CPU, or an NVIDIA GPU's own decoder, where it takes the codec (else "
            "the CPU, and the log says so)."
        ),
    ] = "software"
    open_timeout_s: Annotated[Seconds, Meta(description="Longest wait for the source to open.")] = 10.0
    stall_timeout_s: Annotated[
        Seconds, Meta(description="A live source that gives no frame for so long counts as disconnected.")
    ] = 5.0
    pace: Annotated[
        Literal["live", "fast"],
        Meta(description="Files only: at the file's own rate, or as fast as the worker takes it. No frame is lost."),
    ] = "live"
    loop: Annotated[bool, Meta(description="Files only: begin again at the end.")] = False
    on_discontinuity: Annotated[
        Literal["keep", "reset", "reprompt"],
        Meta(
            description="After a reconnect, size change or time jump: keep the objects and their memory, forget them, "
            "or forget them and apply the prompts again. A worker that had to be restarted has no memory to "
            "keep: the prompts are then applied to the next frame, except with reset."
        ),
    ] = "keep"
    lost_after_s: Annotated[
        Seconds, Meta(description="An object that is not seen for so long changes from occluded to lost.")
    ] = 3.0
    repeat_static: Annotated[
        bool,
        Meta(
            description="Accuracy for speed: do not track a frame whose picture has not changed since the last tracked "
            "one, but publish the masks of that one again, and say so. What changes by less than noise does is "
            "seen up to a second late."
        ),
    ] = False
    prompts: Annotated[tuple[PromptConfig, ...], Meta(description="Objects to follow from the first frame on.")] = ()


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The model that all streams share."""

    name: Annotated[
        str, Meta(min_length=1, description="A name of `streamseg models list`, or the path of a checkpoint.")
    ] = "nano"
    config: Annotated[
        str | None, Meta(description="With the path of a checkpoint: a sam2 config name or a YAML file.")
    ] = None
    image_size: Annotated[
        Annotated[int, Meta(ge=64, le=2048, multiple_of=32)] | None,
        Meta(description="Side of the square model input in pixels; default: the model's own."),
    ] = None
    device: Annotated[
        str,
        Meta(
            pattern=r"^(auto|cpu|cuda(:\d+)?)$",
            examples=["auto", "cpu", "cuda", "cuda:1"],
            description="auto takes a CUDA device if there is one.",
        ),
    ] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Meta(
            description="Precision of the model; auto is bfloat16 where the GPU or CPU multiplies in it, else float32."
        ),
    ] = "auto"
    compile: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="Compile the model with torch.compile, and record CUDA graphs. The first start takes minutes "
            "longer, later ones less. auto does so on CUDA; on a CPU, on needs a C++ compiler."
        ),
    ] = "auto"
    max_objects: Annotated[int, Meta(ge=1, le=256, description="Most objects a stream.")] = 16
    history_frames: Annotated[
        int,
        Meta(
            ge=1,
            le=300,
            description="Newest frames of a stream that a prompt can reach: clicks come late. Each takes memory for "
            "its picture and for every object.",
        ),
    ] = 30
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | None,
        Meta(description="CPU threads of the worker; default: torch's own choice."),
    ] = None


class PublishConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where and how masks are published."""

    endpoints: Annotated[
        tuple[str, ...], Meta(min_length=1, description="ZeroMQ addresses to bind: tcp://HOST:PORT or ipc:///PATH.")
    ] = (DEFAULT_ENDPOINT,)
    encoding: Annotated[
        Literal["coco_rle", "bits_zstd"],
        Meta(description="Of masks: coco_rle needs nothing special to read; bits_zstd is smaller and faster."),
    ] = "coco_rle"
    jpeg_quality: Annotated[int, Meta(ge=1, le=100, description="Of the image topic.")] = 75
    wait_for_subscriber: Annotated[
        bool,
        Meta(
            description="Begin to read the sources only when somebody subscribes, so that a file's first frames "
            "are not missed."
        ),
    ] = False
    allow_unauthenticated: Annotated[
        bool, Meta(description="Permit a tcp endpoint that is not loopback: everybody who reaches it can watch.")
    ] = False


class ControlConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the daemon can be told what to do while it runs."""

    endpoint: Annotated[
        str | None,
        Meta(
            description="ZeroMQ address to bind: ipc:///PATH, or tcp://127.0.0.1:PORT. Default: this user's own, where "
            "`streamseg prompt`, `stream` and `status` and `Controller()` find it; a second daemon of the user gets "
            "another one, which its log tells."
        ),
    ] = None


class HttpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The page in the browser and the HTTP interface."""

    listen: Annotated[
        str | None,
        Meta(
            examples=["127.0.0.1:8080", "[::1]:8080"],
            description="HOST:PORT of the page and the HTTP interface; without it there is neither. Port 0 takes one "
            "that is free and says which.",
        ),
    ] = None
    token: Annotated[
        str | None,
        Meta(
            description="What everybody has to give before anything is shown, at least 16 characters; write "
            "${NAME} to take it from the environment. Required where listen is not loopback."
        ),
    ] = None
    hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Names of this machine under which browsers may ask for the page, besides localhost and plain "
            "addresses. Any other is refused, since a foreign site could have brought it up."
        ),
    ] = ()
    max_clients: Annotated[
        int, Meta(ge=1, le=256, description="Most browsers and programs that watch at the same time.")
    ] = 16


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the daemon writes to stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least severity that is shown.")
    ] = "info"
    format: Annotated[Literal["text", "json"], Meta(description="One readable line, or one JSON object a line.")] = (
        "text"
    )


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that ``streamseg run`` needs to know."""

    streams: Annotated[
        dict[str, StreamConfig],
        Meta(min_length=1, description="Id -> stream. An id is a-z, 0-9, _ and -, at most 64 characters."),
    ]
    model: Annotated[ModelConfig, Meta(description="The model that all streams share.")] = ModelConfig()
    publish: Annotated[PublishConfig, Meta(description="Where and how masks are published.")] = PublishConfig()
    control: Annotated[ControlConfig, Meta(description="Where the daemon can be told what to do while it runs.")] = (
        ControlConfig()
    )
    http: Annotated[HttpConfig, Meta(description="The page in the browser and the HTTP interface.")] = HttpConfig()
    log: Annotated[LogConfig, Meta(description="What the daemon writes to stderr.")] = LogConfig()
