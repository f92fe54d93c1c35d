"""Checks that types cannot express: names, addresses, prompts. Reads files only for the headers of masks."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path as FilePath
from typing import Final

from streamseg.common.image_file import ImageError, check_size
from streamseg.config.problems import Path, Problems
from streamseg.config.prompter_settings import SETTINGS
from streamseg.config.prompter_types import own_file, type_problem
from streamseg.config.right_form import endpoint_form, listen_form
from streamseg.config.schema import (
    AreaConfig,
    ControlConfig,
    FindConfig,
    HttpConfig,
    LineConfig,
    ModelConfig,
    PromptConfig,
    PrompterConfig,
    PublishConfig,
    RecordConfig,
    StreamConfig,
    ZoneConfig,
)
from streamseg.config.validate import read_value
from streamseg.errors import ModelError, StreamsegError
from streamseg.models.huggingface import is_model_id
from streamseg.models.registry import find, is_checkpoint_path
from streamseg.protocol import prompt_rules
from streamseg.protocol.topics import MAX_IPC_PATH, STREAM_ID, is_loopback, is_public
from streamseg.security.key_folder import KeyFolder
from streamseg.sources.address import describe

_WILDCARDS: Final = ("*", "0.0.0.0", "[::]")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~-]+")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
MIN_TOKEN: Final = 16
_MAX_SIDE_PX: Final = 65_536
_URL: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://")


def check_stream_id(stream: str, path: Path, problems: Problems) -> None:
    """Check that a stream's id can be part of a topic."""
    if STREAM_ID.fullmatch(stream) is None:
        fixed = "".join(character if STREAM_ID.fullmatch(character) else "-" for character in stream.lower())[:64]
        problems.add(path, f"{stream!r} is not a valid stream id: use a-z, 0-9, _ and -, for example {fixed or 'cam1'}")
    elif stream.startswith("_"):
        problems.add(
            path, f"{stream!r}: ids that begin with _ are reserved for streamseg: use {stream.lstrip('_') or 'cam1'}"
        )


def check_stream(stream: StreamConfig, path: Path, problems: Problems, max_objects: int) -> None:
    """Check a stream: its source must have a known kind, its prompts must make sense."""
    url = _URL.match(stream.source)
    if url is not None and url[1].lower() != "file" and any(character.isspace() for character in stream.source):
        # Do not show it, since the end of its password is unknown.
        problems.add((*path, "source"), f"the {url[1]}:// address contains white space: percent-encode it as %20")
    else:
        _check_source(stream, path, problems)
    if len(stream.prompts) > max_objects:
        problems.add(
            (*path, "prompts"),
            f"{len(stream.prompts)} objects, but model.max_objects is {max_objects}: raise it, or use fewer prompts",
        )
    first: dict[int, int] = {}
    for index, prompt in enumerate(stream.prompts):
        here = (*path, "prompts", index)
        if prompt.object in first:
            problems.add(
                (*here, "object"),
                f"{prompt.object} is already the object of prompts[{first[prompt.object]}]: give each object its own "
                "id, and put all points of one object into one prompt",
            )
        first.setdefault(prompt.object, index)
        _check_prompt(prompt, here, problems)
    for name, zone in stream.zones.items():
        _check_zone(name, zone, (*path, "zones", name), problems)
    for name, line in stream.lines.items():
        _check_line(name, line, (*path, "lines", name), problems)
    check_find(stream.find, (*path, "find"), problems)
    for name, prompter in stream.prompters.items():
        _check_prompter(name, prompter, (*path, "prompters", name), problems)


def check_publish(publish: PublishConfig, path: Path, problems: Problems, keys: KeyFolder) -> None:
    """Check that endpoints can be bound, and that none is public by accident."""
    if publish.require_key and publish.allow_unauthenticated:
        problems.add((*path, "require_key"), "contradicts allow_unauthenticated: remove one of them")
    for index, endpoint in enumerate(publish.endpoints):
        here = (*path, "endpoints", index)
        if endpoint in publish.endpoints[:index]:
            problems.add(here, f"duplicate endpoint {problems.show(here, endpoint)}: remove one of them")
        _check_endpoint(endpoint, here, problems)
        if publish.allow_unauthenticated or keys.accepts("key"):
            continue
        if is_public(endpoint):
            problems.add(
                here,
                f"{problems.show(here, endpoint)} is reachable from other machines, and no key is authorized to watch: "
                f"run `{keys.authorize_command()}`, or set publish.allow_unauthenticated to true",
            )
        elif publish.require_key and endpoint.startswith("tcp://"):
            problems.add((*path, "require_key"), f"is true, but no key is authorized: run `{keys.authorize_command()}`")
    if publish.encoding == "bits_zstd" and importlib.util.find_spec("zstandard") is None:
        problems.add((*path, "encoding"), "bits_zstd needs a package: pip install 'streamseg[fast]', or use coco_rle")


def check_record(record: RecordConfig, path: Path, problems: Problems) -> None:
    """Check the ids of streams. They need not be in the file: streams may be added later."""
    for index, stream in enumerate(record.streams):
        check_stream_id(stream, (*path, "streams", index), problems)


def check_control(control: ControlConfig, path: Path, problems: Problems, keys: KeyFolder) -> None:
    """Check that the endpoint can be bound, and that it does not give control to everyone who can reach it."""
    if control.endpoint is None:
        return
    here = (*path, "endpoint")
    shown = problems.show(here, control.endpoint)
    _check_endpoint(control.endpoint, here, problems)
    if is_public(control.endpoint) and control.allow_unauthenticated:
        problems.add(
            here,
            f"{shown} is reachable from other machines, and anyone there could control the daemon: remove "
            "control.allow_unauthenticated, or use 127.0.0.1",
        )
    elif control.endpoint.startswith("tcp://") and not control.allow_unauthenticated and not keys.accepts("key"):
        who = "other machines" if is_public(control.endpoint) else "every user of this machine"
        otherwise = (
            " or use an ipc:// address"
            if is_public(control.endpoint)
            else " use an ipc:// address, or set control.allow_unauthenticated to true"
        )
        problems.add(
            here,
            f"{shown} is reachable from {who}, and no key is authorized: run `{keys.authorize_command()} --role "
            f"control`,{otherwise}",
        )


def check_http(http: HttpConfig, path: Path, problems: Problems, keys: KeyFolder) -> None:
    """Check the page's address, and that it is not public without a token."""
    if http.token is not None and (len(http.token) < MIN_TOKEN or not _TOKEN.fullmatch(http.token)):
        problems.add(
            (*path, "token"),
            f"is too easy to guess: use at least {MIN_TOKEN} letters, digits, or any of - _ . ~, for example the "
            "output of: openssl rand -hex 16",
        )
    for index, host in enumerate(http.hosts):
        if not _HOST_NAME.fullmatch(host):
            problems.add(
                (*path, "hosts", index), f"{host!r} is not a host name: write it without a port, like camera.example"
            )
    if (http.tls_certificate is None) != (http.tls_key is None):
        missing, other = sorted(("tls_certificate", "tls_key"), key=lambda name: getattr(http, name) is not None)
        problems.add((*path, missing), f"is missing: {other} is set, and TLS needs both")
    for name, file in (("tls_certificate", http.tls_certificate), ("tls_key", http.tls_key)):
        if file is not None and not _is_file(file):
            problems.add((*path, name), f"there is no file {_short(file)}: check the path")
    if http.require_token and http.token is None and not keys.accepts("token"):
        problems.add((*path, "require_token"), f"is true, but there is none: run `{keys.authorize_command('token')}`")
    if http.listen is None:
        return
    here = (*path, "listen")
    shown = problems.show(here, http.listen)
    host, separator, port = http.listen.rpartition(":")
    if "/" in http.listen:
        form = listen_form(http.listen) or "127.0.0.1:8080"
        problems.add(here, f"{shown} is not HOST:PORT: write listen: {form}, without http:// and path")
    elif not separator or not host:
        problems.add(here, f"{shown} has no port: write HOST:PORT, for example 127.0.0.1:8080")
    elif not (port.isascii() and port.isdigit() and 0 <= int(port) <= 65535):
        problems.add(here, f"{shown} has an invalid port: use 1 to 65535, or 0 for any free port")
    elif host != "localhost" and _address(host) is None:
        problems.add(here, f"{shown}: a host name cannot be bound: use an IP address of this machine, like 127.0.0.1")
    elif not is_loopback(host) and http.token is None and not keys.accepts("token"):
        problems.add(
            here,
            f"{shown} is reachable from other machines, and anyone there could watch and click: use 127.0.0.1, set "
            f"http.token, or run `{keys.authorize_command('token')}`",
        )


def check_model(model: ModelConfig, path: Path, problems: Problems) -> None:
    """Check that the model is known. The worker checks whether its checkpoint is installed."""
    if is_checkpoint_path(model.name):
        if not _is_file(model.name):
            problems.add((*path, "name"), f"there is no file {_short(model.name)}: check the path")
        return
    if is_model_id(model.name):
        return
    try:
        find(model.name)
    except ModelError as error:
        problems.add((*path, "name"), str(error))
    if model.config is not None:
        problems.add(
            (*path, "config"),
            f"{model.config!r} needs model.name to be the path of a checkpoint, not the name {model.name!r}: remove it",
        )


def _check_source(stream: StreamConfig, path: Path, problems: Problems) -> None:
    try:
        described = describe(stream.source)
    except StreamsegError as error:
        problems.add((*path, "source"), str(error))
    else:
        if stream.loop and described.live:
            problems.add((*path, "loop"), "true, but this source is live and cannot start over: remove it")
        if stream.fps is not None and described.kind not in ("images", "snapshot"):
            problems.add((*path, "fps"), f"{stream.fps:g}, but this source has its own rate: remove it")


def _check_prompter(name: str, prompter: PrompterConfig, path: Path, problems: Problems) -> None:
    """Check a prompter: its type must be installed. Other packages' types check their settings when they start."""
    _check_region_name(name, path, problems)
    check_find(prompter, path, problems)
    if (own := own_file(prompter.type)) is not None:
        if not _is_file(own[0]):
            problems.add((*path, "type"), f"there is no file {_short(own[0])}: check the path")
    elif (problem := type_problem(prompter.type)) is not None:
        problems.add((*path, "type"), problem)
    elif prompter.type in SETTINGS:
        struct, check = SETTINGS[prompter.type]
        here = (*path, "settings")
        read = read_value(prompter.settings, struct, here, problems)
        if isinstance(read, struct):
            check(read, here, problems)


def check_find(find: FindConfig | PrompterConfig, path: Path, problems: Problems) -> None:
    """Check how objects are found: areas must be polygons, sizes must leave something to find."""
    if find.min_area >= find.max_area:
        problems.add(
            (*path, "min_area"), f"{find.min_area:g} is not below max_area, {find.max_area:g}: nothing would be found"
        )
    for name, areas in (("region", find.region), ("ignore", find.ignore)):
        for index, area in enumerate(areas):
            _check_polygon(area, (*path, name, index), problems)


def _check_zone(name: str, zone: ZoneConfig, path: Path, problems: Problems) -> None:
    _check_region_name(name, path, problems)
    _check_polygon(zone, path, problems)


def _check_polygon(area: AreaConfig, path: Path, problems: Problems) -> None:
    _check_region_points(area.polygon, area.coords, (*path, "polygon"), problems)
    doubled_area = sum(
        x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(area.polygon, (*area.polygon[1:], area.polygon[0]), strict=True)
    )
    if doubled_area == 0 and _on_one_line(area.polygon):
        problems.add((*path, "polygon"), "has no area: its corners must not all lie on one line")
    elif doubled_area == 0:
        problems.add((*path, "polygon"), "crosses itself: give its corners in their order along the outline")


def _on_one_line(points: Sequence[tuple[float, float]]) -> bool:
    (x0, y0), *others = points
    x1, y1 = max(others, key=lambda point: math.dist(point, (x0, y0)))
    return all((x1 - x0) * (y - y0) == (y1 - y0) * (x - x0) for x, y in others)


def _check_line(name: str, line: LineConfig, path: Path, problems: Problems) -> None:
    _check_region_name(name, path, problems)
    _check_region_points((line.start, line.end), line.coords, path, problems)
    if line.start == line.end:
        problems.add(path, f"start and end are both {list(line.start)}: a line needs two ends")


def _check_region_name(name: str, path: Path, problems: Problems) -> None:
    if STREAM_ID.fullmatch(name) is None:
        problems.add(path, f"{name!r} is not a valid name: use a-z, 0-9, _ and -")


def _check_region_points(points: Sequence[tuple[float, float]], coords: str, path: Path, problems: Problems) -> None:
    for point in points:
        if coords == "normalized" and not all(value <= 1 for value in point):
            problems.add(path, f"{list(point)} is outside 0..1: use normalized coordinates, or coords: pixels")
        if not all(math.isfinite(value) and value <= _MAX_SIDE_PX for value in point):
            problems.add(
                path, f"{list(point)} is not a point of a picture: no picture has {_MAX_SIDE_PX} pixels a side"
            )
    every = [value for point in points for value in point]
    if coords == "pixels" and prompt_rules.looks_normalized(every):
        problems.add(path, f"{list(points[0])} looks normalized, but coords is pixels: set coords to normalized")


def _check_prompt(prompt: PromptConfig, path: Path, problems: Problems) -> None:
    points, box = prompt.points, prompt.box
    found = [
        *prompt_rules.request_problems(points, box, has_mask=prompt.mask is not None, coords=prompt.coords),
        *prompt_rules.start_problems(points, box),
    ]
    for problem in {problem.field: problem for problem in reversed(found)}.values():  # the first of each field
        problems.add((*path, *problem.field), problem.message)
    if label := prompt_rules.label_problem(prompt.label):
        problems.add((*path, "label"), label.removeprefix("label: "))
    if prompt.mask is not None:
        _check_mask(prompt.mask, (*path, "mask"), problems)


def _check_mask(mask: str, path: Path, problems: Problems) -> None:
    if not _is_file(mask):
        problems.add(path, f"there is no file {_short(mask)}: check the path")
        return
    try:
        check_size(FilePath(mask))
    except ImageError as error:
        problems.add(path, f"{_short(mask)} cannot be read: {error}")


def _check_endpoint(endpoint: str, path: Path, problems: Problems) -> None:
    """Check an address to bind."""
    shown = problems.show(path, endpoint)
    scheme, separator, rest = endpoint.partition("://")
    if not separator or scheme not in ("tcp", "ipc"):
        form = endpoint_form(endpoint) or "tcp://HOST:PORT or ipc:///PATH"
        problems.add(path, f"{shown} cannot be bound: write {form}")
    elif scheme == "ipc":
        if not rest.startswith("/"):
            problems.add(path, f"{shown} has no absolute path: write ipc:///PATH, with three slashes")
        elif len(os.fsencode(rest)) > MAX_IPC_PATH:
            problems.add(path, f"{shown} is too long: the path of a socket has at most {MAX_IPC_PATH} bytes")
        elif not os.path.isdir(FilePath(rest).parent):  # noqa: PTH112 - never raises
            problems.add(path, f"{shown}: there is no folder {str(FilePath(rest).parent)!r}: create it first")
    else:
        host, separator, port = rest.rpartition(":")
        if not separator or not host:
            problems.add(path, f"{shown} has no port: write tcp://HOST:PORT, for example tcp://127.0.0.1:5555")
        elif port != "*" and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            problems.add(path, f"{shown} has an invalid port: use 1 to 65535, or * for any free port")
        elif not is_loopback(host) and host not in _WILDCARDS and _address(host) is None and "." in host:
            problems.add(path, f"{shown}: a host name cannot be bound: use an IP address of this machine")


def _is_file(path: str) -> bool:
    """Return whether a path is a file. Unlike ``Path.is_file``, this never raises."""
    return os.path.isfile(path)  # noqa: PTH113


def _short(path: str, length: int = 200) -> str:
    return repr(path if len(path) <= length else f"{path[:length]}...")


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None
