"""Suggests the right form of a setting written in a shorter or different one: ``http: 8080``, ``box: "1,2,3,4"``.

Used only for messages. These forms are never accepted, so the meaning of a file never depends on a guess.
"""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from streamseg.config.schema import (
    ControlConfig,
    HttpConfig,
    LineConfig,
    LogConfig,
    ModelConfig,
    PromptConfig,
    PublishConfig,
    RecordConfig,
    StateConfig,
    StreamConfig,
    ZoneConfig,
)

NO_FORM: Final = object()
"""It is unclear which value was meant."""

_MAX_LEVELS: Final = 6
_MAX_ITEMS: Final = 256
_MAX_TEXT: Final = 4000
_MAX_NUMBER: Final = 2**63

_MAIN_FIELDS: Final[Mapping[type, tuple[str, ...]]] = {
    StreamConfig: ("source",),
    PromptConfig: ("points", "box", "mask"),
    ZoneConfig: ("polygon",),
    ModelConfig: ("name",),
    PublishConfig: ("endpoints",),
    ControlConfig: ("endpoint",),
    HttpConfig: ("listen",),
    StateConfig: ("keep", "path"),
    RecordConfig: ("path",),
    LogConfig: ("level", "format"),
}
"""Group -> the setting meant by a single value in its place."""

_ENTRY_NAMES: Final = {"streams": "cam", "zones": "zone", "lines": "line"}
_ITEM_NAMES: Final = {"endpoints": "endpoint", "hosts": "host", "prompts": "prompt"}
_NAME_FIELDS: Final = ("name", "id", "label", "stream")
_CORNERS: Final = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
    ("x", "y", "label"),
    ("x", "y"),
)
_CORNER_AND_SIZE: Final = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
_NUMBER: Final = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_NUMBERS: Final = re.compile(rf"[\s,;()\[\]]*{_NUMBER}(?:[\s,;()\[\]x]+{_NUMBER})*[\s,;()\[\]]*")
_QUANTITY: Final = re.compile(rf"({_NUMBER})\s*([A-Za-z%]*)")
_SECONDS: Final = {"": 1.0, "s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0}
_UNITS: Final = frozenset({"", "px", "pixels", "fps", "hz", "%"})
_ANY_TEXT: Final = frozenset({"label", "token"})
"""Text settings whose values may look like a number, a date or another word that YAML reads as something else."""

_SYNONYMS: Final = {
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
    "full": "float32",
    "px": "pixels",
    "relative": "normalized",
    "gpu": "cuda",
    "nvdec": "cuda",
    "cpu": "software",
    "rle": "coco_rle",
}
_TRUE: Final = frozenset({"true", "yes", "on", "1", "y"})
_FALSE: Final = frozenset({"false", "no", "off", "0", "n", "none"})
_HOST_AND_PORT: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:]+\]|[\w.*-]*):(?P<port>\d{1,5})")
_SCHEME: Final = re.compile(r"https?://")


def right_form(value: Any, hint: Any, name: str) -> Any:
    """Return a value in the form that a setting takes; :data:`NO_FORM` if that is unclear.

    Args:
        value: As written: plain values.
        hint: Type of the setting.
        name: Name of the setting.
    """
    return _form(value, hint, name, 0)


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value has the type ``hint``."""
    try:
        msgspec.convert(value, hint)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True


def _form(value: Any, hint: Any, name: str, level: int) -> Any:
    if level > _MAX_LEVELS or (isinstance(value, (list, dict, tuple)) and len(value) > _MAX_ITEMS):
        return NO_FORM
    if isinstance(value, int) and abs(value) > _MAX_NUMBER:
        return NO_FORM
    known = _TEXT_FORMS.get(name)
    if known is not None and isinstance(value, (str, int)) and (text := known(value)) is not None:
        return text
    known_items = isinstance(value, (list, tuple)) and _ITEM_NAMES.get(name) in _TEXT_FORMS
    if fits(value, hint) and not known_items:
        return value
    for candidate in _candidates(value, hint, name, level + 1):
        if candidate is not NO_FORM and fits(candidate, hint):
            return candidate
    return value if fits(value, hint) else NO_FORM


def _candidates(value: Any, hint: Any, name: str, level: int) -> Iterator[Any]:
    base = _bare(hint)
    if isinstance(base, type) and issubclass(base, msgspec.Struct):
        yield from _groups(value, base, level)
    elif get_origin(base) is dict:
        yield from _named(value, get_args(base)[1], name, level)
    elif get_origin(base) is tuple and get_args(base)[-1] is ...:
        yield from _lists(value, hint, get_args(base)[0], name, level)
    elif get_origin(base) is tuple:
        yield from _numbers(value)
    else:
        yield from _scalars(value, base, name)
    if isinstance(value, (list, tuple)) and len(value) == 1:
        yield _form(value[0], hint, name, level)


def _bare(hint: Any) -> Any:
    """Return a type without its bounds and without None."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif get_origin(hint) in (Union, UnionType):
            hint = next(arg for arg in get_args(hint) if arg is not NoneType)
        else:
            return hint


def _groups(value: Any, struct: type[msgspec.Struct], level: int) -> Iterator[Any]:
    types = {field.name: field.type for field in msgspec.structs.fields(struct)}
    if isinstance(value, dict):
        if set(value) <= set(types):
            group = {key: _form(item, types[key], key, level) for key, item in value.items()}
            yield NO_FORM if any(item is NO_FORM for item in group.values()) else _numbered(group, struct, 1)
        return
    if struct is LineConfig:
        ends = _form(value, tuple[tuple[float, float], ...], "polygon", level)
        if ends is not NO_FORM and len(ends) == 2:
            yield {"start": list(ends[0]), "end": list(ends[1])}
    names = _MAIN_FIELDS.get(struct, ())
    if struct is PromptConfig and fits(_plain_numbers(value), tuple[float, float, float, float]):
        names = ("box", "points", "mask")
    for name in names:
        item = _form(value, types[name], name, level)
        yield NO_FORM if item is NO_FORM else _numbered({name: item}, struct, 1)


def _numbered(group: Any, struct: Any, number: int) -> Any:
    """Return the group of an object with an id added if it has none; any other group unchanged."""
    if struct is PromptConfig and "object" not in group:
        return {"object": number, **group}
    return group


def _named(value: Any, item_hint: Any, name: str, level: int) -> Iterator[Any]:
    """Yield forms of a group of settings per name: from a single one, or from a list."""
    entry = _ENTRY_NAMES.get(name, "name")
    one = _form(value, item_hint, entry, level)
    yield NO_FORM if one is NO_FORM else {entry: one}
    entries: dict[str, Any] = {}
    if isinstance(value, dict):
        entries = {str(key): _form(item, item_hint, str(key), level) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value, start=1):
            own, rest = _own_name(item, item_hint) or (f"{entry}{number}", item)
            entries[own] = _form(rest, item_hint, own, level)
    if entries:
        yield NO_FORM if any(item is NO_FORM for item in entries.values()) else entries


def _own_name(item: Any, item_hint: Any) -> tuple[str, Any] | None:
    """Return the name in an entry of a list, and the rest of the entry."""
    if not isinstance(item, dict):
        return None
    if len(item) == 1:  # - door: {source: ...}
        (key, inner), fields = next(iter(item.items())), msgspec.structs.fields(_bare(item_hint))
        return None if key in {field.name for field in fields} else (str(key), inner)
    for field in _NAME_FIELDS:
        if isinstance(item.get(field), (str, int)):
            return str(item[field]), {key: inner for key, inner in item.items() if key != field}
    return None


def _lists(value: Any, hint: Any, item_hint: Any, name: str, level: int) -> Iterator[Any]:
    item_name = _ITEM_NAMES.get(name, "")
    struct = _bare(item_hint)
    numbers = _plain_numbers(value)
    yield NO_FORM if numbers is value else numbers
    if isinstance(numbers, str) and item_name and len(parts := re.split(r"[\s,]+", numbers.strip())) > 1:
        yield [_form(part, item_hint, item_name, level) for part in parts]
    one = _form(numbers, item_hint, item_name, level)
    yield NO_FORM if one is NO_FORM else [one]
    if isinstance(numbers, list) and numbers and not isinstance(struct, type):
        for size in (3, 2) if all(label in (0, 1) for label in numbers[2::3]) else (2, 3):
            yield [numbers[at : at + size] for at in range(0, len(numbers), size)]
    if isinstance(value, (list, tuple)):
        items = [_form(item, item_hint, item_name, level) for item in value]
        if all(isinstance(item, dict) for item in items):  # groups: give each object its own id
            items = [
                {**item, "object": number} if isinstance(given, (list, str)) and "object" in item else item
                for number, (given, item) in enumerate(zip(value, items, strict=True), start=1)
            ]
        yield NO_FORM if any(item is NO_FORM for item in items) else items
    elif isinstance(value, dict) and struct is PromptConfig:
        yield _prompts_by_name(value, level)


def _prompts_by_name(value: dict[Any, Any], level: int) -> Any:
    """Return ``{cup: {box: ...}}`` or ``{1: {box: ...}}`` as a list of prompts."""
    prompts = []
    for number, (key, item) in enumerate(value.items(), start=1):
        prompt = _form(item, PromptConfig, "prompt", level)
        if prompt is NO_FORM:
            return NO_FORM
        own = int(key) if str(key).isascii() and str(key).isdigit() and len(str(key)) < 10 else None
        name = {} if own is not None else {"label": str(key)}
        prompts.append({**prompt, "object": own or number, **name})
    return prompts


def _numbers(value: Any) -> Iterator[Any]:
    """Yield forms of a fixed-length list of numbers."""
    yield _plain_numbers(value)
    if isinstance(value, (list, tuple)) and all(isinstance(pair, (list, tuple)) for pair in value):
        yield [number for pair in value for number in pair]


def _plain_numbers(value: Any) -> Any:
    """Return numbers from text or from named corners; any other value unchanged."""
    if isinstance(value, str) and len(value) <= _MAX_TEXT and _NUMBERS.fullmatch(value):
        return [_number(text) for text in re.findall(_NUMBER, value)]
    if isinstance(value, dict):
        for names in _CORNERS:
            if set(value) == set(names):
                return [value[name] for name in names]
        for names in _CORNER_AND_SIZE:
            if set(value) == set(names) and all(isinstance(item, (int, float)) for item in value.values()):
                x, y, width, height = (value[name] for name in names)
                return [x, y, x + width, y + height]
    if isinstance(value, (list, tuple)) and any(isinstance(item, str) for item in value):
        numbers = [_plain_numbers(item) for item in value]
        if all(isinstance(item, list) and len(item) == 1 for item in numbers):
            return [item[0] for item in numbers]
    return value


def _number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _scalars(value: Any, base: Any, name: str) -> Iterator[Any]:
    if base is bool and isinstance(value, (str, int)):
        word = str(value).strip().lower()
        yield True if word in _TRUE else False if word in _FALSE else NO_FORM
    elif base in (int, float) and isinstance(value, (str, float)):
        yield _quantity(str(value).strip(), name, base)
    elif get_origin(base) is Literal and isinstance(value, (str, int, float)):
        yield _choice(value, get_args(base))
    elif base is str and name in _ANY_TEXT and isinstance(value, (int, float, datetime.date)):
        yield str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, (list, tuple)) and len(value) == 2 and value[0] == value[1] and fits(value[0], base):
        yield value[0]  # a square side, given as width and height


def _quantity(text: str, name: str, base: Any) -> Any:
    """Return the number of a text like ``10 s``, ``500ms``, ``75%`` or ``384x384``."""
    if base is int and (sides := re.fullmatch(r"(\d{1,9})\s*[xX]\s*(\d{1,9})", text)) and sides[1] == sides[2]:
        return int(sides[1])
    match = _QUANTITY.fullmatch(text)
    units = _SECONDS if name.endswith("_s") else dict.fromkeys(_UNITS, 1.0)
    if match is None or match[2].lower() not in units:
        return NO_FORM
    if match[2] == "%" and base is float:
        return _number(repr(float(match[1]) / 100))
    return _number(repr(round(float(match[1]) * units[match[2].lower()], 9)))


def _choice(value: Any, choices: tuple[Any, ...]) -> Any:
    """Return the choice that a word means; ``true`` means on and ``false`` off if these are choices."""
    words = {str(choice).lower(): choice for choice in choices}
    word = str(value).strip().lower()
    word = synonym if (synonym := _SYNONYMS.get(word)) in words else word
    word = {"true": "on", "yes": "on", "false": "off", "no": "off"}.get(word, word) if "on" in words else word
    if word in words:
        return words[word]
    near = [text for text in words if len(word) > 2 and text.startswith(word)]
    near = near or difflib.get_close_matches(word[:40], words, n=1, cutoff=0.75)
    return words[near[0]] if near else NO_FORM


def listen_form(value: str | int) -> str | None:
    """Return HOST:PORT from a port, an ``http://`` address or ``true``; None if there is no port."""
    if value is True:
        return "127.0.0.1:8080"
    return _host_and_port(_SCHEME.sub("", str(value).strip()).partition("/")[0])


def endpoint_form(value: str | int) -> str | None:
    """Return the endpoint to bind from a port, HOST:PORT or a path; None for anything else."""
    text = str(value).strip()
    if text.startswith("/"):
        return f"ipc://{text}"
    address = _host_and_port(text)
    return None if address is None else f"tcp://{address}"


def _host_and_port(text: str) -> str | None:
    """Return HOST:PORT from the same or from a port; None for anything else. The default host is this machine."""
    found = _HOST_AND_PORT.fullmatch(f":{text}" if text.isascii() and text.isdigit() else text)
    return None if found is None else f"{found['host'] or '127.0.0.1'}:{found['port']}"


def _source_form(value: str | int) -> str | None:
    text = str(value).strip()
    return f"webcam:{text}" if text.isascii() and text.isdigit() and len(text) <= 4 else None


def _device_form(value: str | int) -> str | None:
    found = re.fullmatch(r"(?:gpu|cuda)?\s*:?\s*(\d{1,3})?", str(value).strip().lower())
    if found is None or str(value) == "":
        return None
    return "cuda" if found[1] is None else f"cuda:{found[1]}"


_TEXT_FORMS: Final[Mapping[str, Callable[[str | int], str | None]]] = {
    "listen": listen_form,
    "endpoint": endpoint_form,
    "source": _source_form,
    "device": _device_form,
}
