"""Every setting, with its type, bounds and description.

Frozen, so that no code changes a setting in place. ``streamseg config schema`` prints the descriptions; a test fails
when one is missing. All settings are in this one file, however long, so that it reads as the reference.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from streamseg.models.tuning import MaskEdges, MemoryPolicyName
from streamseg.protocol.prompt_rules import MAX_OBJECT_ID
from streamseg.protocol.topics import DEFAULT_ENDPOINT, is_public

Seconds = Annotated[float, Meta(gt=0, le=3600)]
Interval = Annotated[float, Meta(ge=0.1, le=3600)]
Coordinate = Annotated[float, Meta(ge=0)]


class PromptConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An object to track from a stream's first frame on."""

    object: Annotated[int, Meta(ge=1, le=MAX_OBJECT_ID, description="Id of the object, your choice.")]
    label: Annotated[str, Meta(max_length=100, description="Name of the object, published with its masks.")] = ""
    points: Annotated[
        tuple[Annotated[tuple[float, ...], Meta(min_length=2, max_length=3)], ...],
        Meta(
            examples=[[[320, 240]]],
            description="Points as [x, y] or [x, y, label]; label 1: on the object (default), 0: not on it.",
        ),
    ] = ()
    box: Annotated[
        tuple[float, float, float, float] | None,
        Meta(examples=[[100, 80, 420, 400]], description="Box around the object: [x0, y0, x1, y1]."),
    ] = None
    mask: Annotated[
        str | None,
        Meta(description="Image file of the object's mask, of the video's size; every pixel that is not black counts."),
    ] = None
    coords: Annotated[
        Literal["pixels", "normalized"],
        Meta(description="Unit of points and box: pixels of the video, or fractions (0 to 1) of its width and height."),
    ] = "pixels"


PicturePoint = tuple[Coordinate, Coordinate]


class AreaConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the picture."""

    polygon: Annotated[
        tuple[PicturePoint, ...],
        Meta(
            min_length=3,
            max_length=64,
            examples=[[[0, 0], [200, 0], [200, 150]]],
            description="Its corners: [[x, y], ...].",
        ),
    ]
    coords: Annotated[
        Literal["pixels", "normalized"],
        Meta(description="Unit of the corners: pixels of the video, or 0..1 of its width and height."),
    ] = "pixels"


class ZoneConfig(AreaConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An area of the picture. Events say when an object enters and leaves it."""

    share: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="An object is in the zone if at least this share of its mask is inside the polygon; it has "
            "left when less than half of that share is inside.",
        ),
    ] = 0.5


class LineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A line in the picture. Events say when an object crosses it, forward (from its left to its right) or backward."""

    start: Annotated[PicturePoint, Meta(examples=[[0, 240]], description="One end: [x, y].")]
    end: Annotated[PicturePoint, Meta(examples=[[640, 240]], description="The other end: [x, y].")]
    coords: Annotated[
        Literal["pixels", "normalized"],
        Meta(description="Unit of the ends: pixels of the video, or 0..1 of its width and height."),
    ] = "pixels"


PictureShare = Annotated[float, Meta(ge=0, le=1)]
Areas = Annotated[tuple[AreaConfig, ...], Meta(max_length=32)]
TimesSeen = Annotated[int, Meta(ge=1, le=20)]
ObjectCount = Annotated[int, Meta(ge=1, le=256)]


class FindConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How objects are found without a prompt."""

    enabled: Annotated[
        bool,
        Meta(description="Find objects; off without a `find` group. false: only if a client or the page requests it."),
    ] = True
    every_s: Annotated[
        Interval,
        Meta(description="Seconds of video between two looks; less if there is much movement outside of all masks."),
    ] = 2.0
    level: Annotated[
        Literal["whole", "part", "all"],
        Meta(description="Of masks inside each other: the largest (whole), the smallest (part), or all of them."),
    ] = "whole"
    min_area: Annotated[PictureShare, Meta(description="Smallest mask, as a share of the picture.")] = 0.003
    max_area: Annotated[PictureShare, Meta(description="Largest mask, as a share of the picture.")] = 0.4
    max_objects: Annotated[
        ObjectCount,
        Meta(description="Maximum number of found objects; model.max_objects limits all objects of the stream."),
    ] = 8
    region: Annotated[
        Areas,
        Meta(
            examples=[[{"polygon": [[0, 100], [640, 100], [640, 480], [0, 480]]}]],
            description="Find objects with at least half of their mask in these areas; none: everywhere.",
        ),
    ] = ()
    ignore: Annotated[
        Areas,
        Meta(
            examples=[[{"polygon": [[0, 0], [640, 0], [640, 60], [0, 60]]}]],
            description="Areas in which nothing is found, even inside region.",
        ),
    ] = ()
    confirm: Annotated[TimesSeen, Meta(description="How many times an object must be seen before it is tracked.")] = 3
    quality: Annotated[
        PictureShare | None,
        Meta(description="Minimum predicted IoU of a mask, 0..1; default: the model's own threshold."),
    ] = None
    share: Annotated[
        Annotated[float, Meta(ge=0.01, le=0.9)],
        Meta(
            description="Share of the device's time for looks, which run in parts between frames. Several streams use "
            "the largest share together."
        ),
    ] = 0.1


class PrompterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A program that finds objects, in a separate process."""

    type: Annotated[
        str,
        Meta(
            min_length=1,
            examples=["onnx", "faces", "my_detector.py:create"],
            description="Type: onnx, faces, text, a type from an installed package, or a function in your own file.",
        ),
    ]
    settings: Annotated[
        dict[str, Any],
        Meta(
            max_length=64,
            examples=[{"model": "yolov8n.onnx"}],
            description="Settings of the type.",
        ),
    ] = {}
    every_s: Annotated[Interval, Meta(description="Seconds of video between two pictures, if it is fast enough.")] = 1.0
    timeout_s: Annotated[
        Seconds, Meta(description="A call that takes longer counts as hung: the process is killed and restarted.")
    ] = 30.0
    threads: Annotated[int, Meta(ge=1, le=1024, description="CPU threads of the process.")] = 1
    min_score: Annotated[PictureShare, Meta(description="Proposals with a lower score are not used.")] = 0.0
    confirm: Annotated[
        TimesSeen, Meta(description="On how many pictures an object must be seen before it is tracked.")
    ] = 3
    min_area: Annotated[PictureShare, Meta(description="Smallest mask, as a share of the picture.")] = 0.0003
    max_area: Annotated[PictureShare, Meta(description="Largest mask, as a share of the picture.")] = 0.8
    max_objects: Annotated[
        ObjectCount,
        Meta(
            description="Maximum number of objects from prompters on the stream; model.max_objects limits all objects."
        ),
    ] = 8
    region: Annotated[
        Areas,
        Meta(
            examples=[[{"polygon": [[0, 100], [640, 100], [640, 480], [0, 480]]}]],
            description="Use proposals with at least half of their mask in these areas; none: everywhere.",
        ),
    ] = ()
    ignore: Annotated[
        Areas,
        Meta(
            examples=[[{"polygon": [[0, 0], [640, 0], [640, 60], [0, 60]]}]],
            description="Areas in which nothing is used, even inside region.",
        ),
    ] = ()


class StreamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One video source and the objects to track in it."""

    source: Annotated[
        str,
        Meta(
            min_length=1,
            examples=["webcam:0", "clip.mp4"],
            description="rtsp://, rtmp://, http:// or https:// (MJPEG, HLS, files), udp:// or rtp:// (MPEG-TS), an "
            ".sdp file, snapshot+http://, webcam:0 or /dev/video0, screen:, a video or image file, a folder or "
            "pattern (*.png, %03d.png) of images, lavfi:FILTER, or scene:NAME.",
        ),
    ]
    transport: Annotated[Literal["tcp", "udp"], Meta(description="RTSP only: transport of the media packets.")] = "tcp"
    decoder: Annotated[
        Literal["software", "cuda"],
        Meta(
            description="Decode on the CPU, or with an NVIDIA GPU's decoder. If the GPU does not support the codec, "
            "the CPU decodes, and the log says so."
        ),
    ] = "software"
    open_timeout_s: Annotated[Seconds, Meta(description="Maximum time to open the source.")] = 10.0
    stall_timeout_s: Annotated[
        Seconds, Meta(description="A live source without a frame for this long counts as disconnected.")
    ] = 5.0
    pace: Annotated[
        Literal["live", "fast", "camera"],
        Meta(
            description="Files only: play at the file's own rate (live) or as fast as the model can (fast), without "
            "dropping a frame; or at its own rate with frames dropped if the model is slower, like a camera (camera)."
        ),
    ] = "live"
    follow_redirects: Annotated[
        bool,
        Meta(
            description="http and https only: follow the server to another address, by a redirect or a playlist (HLS, "
            "DASH). Off for streams added over HTTP, so that their addresses cannot change after they were "
            "checked."
        ),
    ] = True
    fps: Annotated[
        Annotated[float, Meta(ge=0.01, le=1000)] | None,
        Meta(description="Image folders: images per second, default 30. Snapshots: requests per second, default 5."),
    ] = None
    video_stream: Annotated[
        Annotated[int, Meta(ge=0, le=1000)] | None,
        Meta(description="Which video stream of a source with several, from 0; default: the best, as FFmpeg chooses."),
    ] = None
    deinterlace: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="Deinterlace pictures marked as interlaced (auto), all, or none. A deinterlaced picture "
            "arrives one frame later."
        ),
    ] = "auto"
    loop: Annotated[bool, Meta(description="Files only: start over at the end.")] = False
    on_discontinuity: Annotated[
        Literal["keep", "reset", "reprompt"],
        Meta(
            description="After a reconnect, size change or time jump: keep the objects and their memory, drop them, or "
            "drop them and apply the prompts again; an object where the picture has not changed starts from its last "
            "mask instead. A restarted worker goes on from a snapshot of their memory. An object that is not in it is "
            "lost with keep, dropped with reset, and prompted again with reprompt."
        ),
    ] = "keep"
    lost_after_s: Annotated[
        Seconds, Meta(description="An object that is not visible for this long changes from occluded to lost.")
    ] = 3.0
    uncertain_below: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="An object whose confidence stays below this is uncertain: its mask is probably wrong, and is "
            "still published. 0: never.",
        ),
    ] = 0.5
    uncertain_after_s: Annotated[
        Seconds, Meta(description="How long the confidence must stay below, or above again, for the state to change.")
    ] = 0.5
    overload: Annotated[
        Literal["lower_rate", "smaller_input", "oldest_objects"],
        Meta(
            description="If the model is slower than the camera: track as many frames as it can (lower_rate), also "
            "with a model input of three quarters of the side (smaller_input), or suspend the newest objects until "
            "the older ones are tracked on the camera's frames (oldest_objects)."
        ),
    ] = "lower_rate"
    repeat_static: Annotated[
        bool,
        Meta(
            description="Trade accuracy for speed: if the picture has not changed since the last tracked frame, "
            "publish the masks of that frame again, marked as repeated. A change weaker than camera noise shows up to "
            "a second late."
        ),
    ] = False
    overlap: Annotated[
        Literal["allowed", "exclusive"],
        Meta(
            description="Whether masks of a stream may share pixels. exclusive: each pixel belongs to the object with "
            "the higher confidence; only what is published changes."
        ),
    ] = "allowed"
    mask_cleanup: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Remove specks and fill holes of masks that have fewer pixels than this; 0: leave masks "
            "unchanged. The largest part of a mask always stays.",
        ),
    ] = 0
    prompts: Annotated[
        tuple[PromptConfig, ...],
        Meta(
            examples=[[{"object": 1, "box": [100, 80, 420, 400]}]],
            description="Objects to track from the first frame on.",
        ),
    ] = ()
    zones: Annotated[
        dict[str, ZoneConfig],
        Meta(
            max_length=32,
            examples=[{"door": {"polygon": [[0, 0], [200, 0], [200, 150]]}}],
            description="Areas to watch, by name: events say who is inside.",
        ),
    ] = {}
    lines: Annotated[
        dict[str, LineConfig],
        Meta(
            max_length=32,
            examples=[{"gate": {"start": [0, 240], "end": [640, 240]}}],
            description="Lines to watch, by name: events say who crosses them.",
        ),
    ] = {}
    find: Annotated[
        FindConfig,
        Meta(
            examples=[{"every_s": 5}],
            description="Find objects without a prompt; `{}`: with the defaults. Without it, off.",
        ),
    ] = FindConfig(enabled=False)
    prompters: Annotated[
        dict[str, PrompterConfig],
        Meta(
            max_length=4,
            examples=[{"people": {"type": "onnx", "settings": {"model": "yolov8n.onnx"}}}],
            description="Detectors that find objects, by name: at most 4.",
        ),
    ] = {}


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The model, shared by all streams."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            description="A name of `streamseg models list`, the path of a checkpoint, or a Hugging Face id.",
        ),
    ] = "nano"
    config: Annotated[
        str | None, Meta(description="With the path or id of a checkpoint: a sam2 config name or a YAML file.")
    ] = None
    image_size: Annotated[
        Annotated[int, Meta(ge=64, le=2048, multiple_of=32)] | None,
        Meta(description="Side of the square model input in pixels; default: the model's own."),
    ] = None
    device: Annotated[
        str,
        Meta(
            pattern=r"^(auto|cpu|(cuda|gpu)(:\d+)?|npu)$",
            examples=["auto", "cpu", "cuda", "cuda:1", "gpu", "npu"],
            description="Device of the model; auto uses CUDA if available. gpu and npu are those of Intel, which "
            "OpenVINO uses; no such device was tested yet.",
        ),
    ] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Meta(
            description="Precision of the model; auto is bfloat16 if the GPU or CPU supports it natively, else float32."
        ),
    ] = "auto"
    engine: Annotated[
        Literal["auto", "torch", "openvino"],
        Meta(
            description="Engine that runs the model. On a CPU, auto is OpenVINO if it is installed: at the first "
            "start, torch runs until the model is converted in the background. openvino waits for that."
        ),
    ] = "auto"
    compile: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="Compile the model with torch.compile and record CUDA graphs. auto does so on CUDA only, while "
            "frames are tracked. on waits for it: the first start takes minutes longer, later starts less. On a CPU, "
            "on needs a C++ compiler and replaces OpenVINO."
        ),
    ] = "auto"
    memory: Annotated[
        Literal["auto", MemoryPolicyName],
        Meta(
            description="Which frames an object remembers: the newest (sam2), the newest with a good mask (gated), or "
            "also some on which a look-alike was near (distractor). contact keeps the masks of objects apart that "
            "touch, by their colors, or by their motion if they look alike, and skips frames on which the object was "
            "not seen, or its mask lay on another object or on the background beside one. auto is the model's own: "
            "contact for nano, sam2 for Meta's models."
        ),
    ] = "auto"
    mask_edges: Annotated[
        Literal["auto", MaskEdges],
        Meta(
            description="Where published masks end: as the model says (model), or moved to where the picture's colors "
            "change (colors). auto is the model's own: colors for nano, model for Meta's models."
        ),
    ] = "auto"
    max_objects: Annotated[ObjectCount, Meta(description="Maximum number of objects per stream.")] = 16
    history_frames: Annotated[
        int,
        Meta(
            ge=1,
            le=300,
            description="How many recent frames a prompt can refer to, since clicks arrive late. Each takes memory "
            "for its picture and every object.",
        ),
    ] = 30
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | None,
        Meta(description="CPU threads of the worker; default: chosen by torch."),
    ] = None


class PublishConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where and how masks are published."""

    endpoints: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            examples=[[DEFAULT_ENDPOINT]],
            description="ZeroMQ endpoints to bind: tcp://HOST:PORT or ipc:///PATH.",
        ),
    ] = (DEFAULT_ENDPOINT,)
    encoding: Annotated[
        Literal["coco_rle", "bits_zstd", "polygons"],
        Meta(
            description="Encoding of masks: coco_rle is widely readable; bits_zstd is smaller and faster; polygons are "
            "simplified outlines, off by at most 0.7 pixels."
        ),
    ] = "coco_rle"
    jpeg_quality: Annotated[int, Meta(ge=1, le=100, description="JPEG quality of the image topic.")] = 75
    wait_for_subscriber: Annotated[
        bool,
        Meta(
            description="Open the sources when the first subscriber connects, so that it does not miss the first "
            "frames of a file."
        ),
    ] = False
    require_key: Annotated[
        bool,
        Meta(
            description="Subscribers of loopback tcp endpoints need a key, too, as on all other tcp endpoints "
            "(`streamseg keys authorize`)."
        ),
    ] = False
    allow_unauthenticated: Annotated[
        bool,
        Meta(
            description="Subscribers need no key, even where other machines reach the endpoint: anyone there can watch."
        ),
    ] = False

    def needs_key(self, endpoint: str) -> bool:
        """Whether subscribers of an endpoint need a key: if other machines can reach it, or for all of tcp."""
        if endpoint.startswith("ipc://"):
            return False  # the file's mode decides who may connect
        return self.require_key or (is_public(endpoint) and not self.allow_unauthenticated)


class ControlConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the daemon takes control requests."""

    endpoint: Annotated[
        str | None,
        Meta(
            description="ZeroMQ endpoint to bind: ipc:///PATH, or tcp://HOST:PORT, where clients need a key "
            "(`streamseg keys authorize`). Default: one per user, where `streamseg prompt`, `stream`, `status` and "
            "`Controller()` look for it; a second daemon of the same user gets another one and logs it."
        ),
    ] = None
    allow_unauthenticated: Annotated[
        bool,
        Meta(description="Clients of a loopback tcp endpoint need no key: every user of this machine is in control."),
    ] = False


class SecurityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may watch and control over the network."""

    keys: Annotated[
        str | None,
        Meta(
            examples=["keys"],
            description="Folder of the daemon's key, of the keys it accepts, and of HTTP tokens; `streamseg keys` "
            "fills it. Default: keys in $STATE_DIRECTORY or $XDG_STATE_HOME/streamseg (~/.local/state/streamseg).",
        ),
    ] = None


class HttpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The web page and the HTTP API."""

    listen: Annotated[
        str | None,
        Meta(
            examples=["127.0.0.1:8080", "[::1]:8080"],
            description="HOST:PORT of the web page and the HTTP API; not set: neither is served. Port 0 picks a "
            "free port and logs it.",
        ),
    ] = None
    token: Annotated[
        str | None,
        Meta(
            description="Token that every client must present, at least 16 characters; write ${NAME} to take it from "
            "the environment. It may control everything; `streamseg keys token` makes others with a name and a role. "
            "Required, or one of those, if listen is not loopback."
        ),
    ] = None
    require_token: Annotated[
        bool, Meta(description="Require a token of `streamseg keys token` also if listen is loopback.")
    ] = False
    tls_certificate: Annotated[
        str | None,
        Meta(
            description="PEM file with the certificate and its chain: the page is served over https. Read again when "
            "it changes."
        ),
    ] = None
    tls_key: Annotated[str | None, Meta(description="PEM file with its private key, without a passphrase.")] = None
    hosts: Annotated[
        tuple[str, ...],
        Meta(
            examples=[["camera.example"]],
            description="Host names under which browsers may open the page, besides localhost and IP addresses. Others "
            "are refused, to protect against DNS rebinding.",
        ),
    ] = ()
    allow_files: Annotated[
        bool,
        Meta(
            description="Allow HTTP clients to add streams of every kind, including files on this machine. Otherwise "
            "they may add rtsp, rtsps, http, https and webcam."
        ),
    ] = False
    allow_own_addresses: Annotated[
        bool,
        Meta(
            description="Allow HTTP clients to add streams whose address leads to this machine or to its network's own "
            "services: loopback, link-local and metadata addresses. Needed for a video server on the same machine, "
            "and for playlists (HLS, DASH), which can name any address."
        ),
    ] = False
    max_clients: Annotated[
        int, Meta(ge=1, le=256, description="Maximum number of browsers and programs that watch at the same time.")
    ] = 16


class StateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """State that survives a restart: the objects and their memory, and streams added at runtime."""

    keep: Annotated[
        bool,
        Meta(
            description="Keep state on disk, so that objects and streams added at runtime come back when the daemon "
            "starts again. false: objects survive only a crash of the worker. Needs a configuration "
            "file."
        ),
    ] = True
    path: Annotated[
        str | None,
        Meta(
            description="Folder of this daemon's state. Default: one for each configuration file, in "
            "$STATE_DIRECTORY or $XDG_STATE_HOME/streamseg (~/.local/state/streamseg).",
        ),
    ] = None
    every_s: Annotated[
        Interval, Meta(description="Seconds between two snapshots of a stream's memory. Each prompt makes one, too.")
    ] = 5.0
    max_age_s: Annotated[
        Annotated[float, Meta(ge=0, le=31_536_000)],
        Meta(description="An older snapshot is not used: its objects are lost until they are prompted again."),
    ] = 3600.0


ClipEvent = Literal[
    "object_added",
    "object_found",
    "object_appeared",
    "object_occluded",
    "object_lost",
    "object_removed",
    "zone_entered",
    "zone_left",
    "line_crossed",
]
"""Events that can start a clip."""


class ClipsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Video clips around events."""

    path: Annotated[
        str | None,
        Meta(examples=["clips"], description="Folder of the clips; created if it does not exist. null: none."),
    ] = None
    events: Annotated[
        tuple[ClipEvent, ...],
        Meta(examples=[["zone_entered"]], description="Events that start a clip, or make a running one longer."),
    ] = ("zone_entered", "line_crossed")
    before_s: Annotated[
        Annotated[float, Meta(ge=0, le=60)], Meta(description="A clip begins this many seconds before the event.")
    ] = 5.0
    after_s: Annotated[
        Annotated[float, Meta(ge=0.1, le=300)], Meta(description="A clip ends this many seconds after the last event.")
    ] = 5.0
    max_rate_hz: Annotated[
        Annotated[float, Meta(ge=0.2, le=30)],
        Meta(
            description="Maximum number of pictures per second. They are encoded as JPEG all the time, even without an "
            "event: about 8 ms of a core each at 1080p."
        ),
    ] = 10.0
    overlay: Annotated[bool, Meta(description="Draw the masks over the pictures.")] = True
    max_gb: Annotated[
        Annotated[float, Meta(ge=0.001)] | None,
        Meta(description="Delete the oldest clips beyond this size. null: no limit."),
    ] = None
    max_hours: Annotated[
        Annotated[float, Meta(ge=0.01)] | None, Meta(description="Delete older clips. null: no limit.")
    ] = None


class RecordConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A recording of all published messages, for `streamseg replay` and `streamseg export`."""

    path: Annotated[
        str | None,
        Meta(examples=["recording"], description="Folder of the recording, appended to if it exists. null: none."),
    ] = None
    streams: Annotated[
        tuple[str, ...],
        Meta(examples=[["door"]], description="Ids of streams; empty: all, including those added later."),
    ] = ()
    pictures: Annotated[bool, Meta(description="Record pictures, too: about 0.4 MB each at 1080p.")] = False
    segment_mb: Annotated[int, Meta(ge=1, le=100_000, description="A new file begins at this size.")] = 256
    segment_minutes: Annotated[Annotated[float, Meta(ge=0.01, le=1440)], Meta(description="Or after this time.")] = 10.0
    max_gb: Annotated[
        Annotated[float, Meta(ge=0.001)] | None,
        Meta(description="Delete the oldest files beyond this size. null: no limit."),
    ] = None
    max_hours: Annotated[
        Annotated[float, Meta(ge=0.01)] | None, Meta(description="Delete older files. null: no limit.")
    ] = None
    keep_free_mb: Annotated[
        int, Meta(ge=0, description="The recording stops, with an event, when the disk has less space left.")
    ] = 1000
    clips: Annotated[ClipsConfig, Meta(examples=[{"path": "clips"}], description="Video clips around events.")] = (
        ClipsConfig()
    )


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the daemon logs to stderr."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Lowest level that is logged.")] = (
        "info"
    )
    format: Annotated[Literal["text", "json"], Meta(description="One line of text or one JSON object per record.")] = (
        "text"
    )


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of ``streamseg run``."""

    streams: Annotated[
        dict[str, StreamConfig],
        Meta(
            examples=[{"cam": {"source": "webcam:0"}}],
            description="Id -> stream. An id is a-z, 0-9, _ and -, at most 64 characters. `{}`: wait for streams.",
        ),
    ]
    model: Annotated[
        ModelConfig, Meta(examples=[{"name": "nano"}], description="The model, shared by all streams.")
    ] = ModelConfig()
    publish: Annotated[
        PublishConfig,
        Meta(examples=[{"endpoints": [DEFAULT_ENDPOINT]}], description="Where and how masks are published."),
    ] = PublishConfig()
    control: Annotated[
        ControlConfig,
        Meta(examples=[{"endpoint": "tcp://127.0.0.1:5556"}], description="Where the daemon takes control requests."),
    ] = ControlConfig()
    http: Annotated[
        HttpConfig,
        Meta(examples=[{"listen": "127.0.0.1:8080"}], description="The web page and the HTTP API."),
    ] = HttpConfig()
    security: Annotated[
        SecurityConfig, Meta(examples=[{"keys": "keys"}], description="Who may watch and control over the network.")
    ] = SecurityConfig()
    state: Annotated[StateConfig, Meta(examples=[{"keep": False}], description="What survives a restart.")] = (
        StateConfig()
    )
    record: Annotated[
        RecordConfig, Meta(examples=[{"path": "recording"}], description="A recording of all published messages.")
    ] = RecordConfig()
    log: Annotated[LogConfig, Meta(examples=[{"level": "info"}], description="What the daemon logs to stderr.")] = (
        LogConfig()
    )
