"""Explains which field of a request is wrong, its value, and what to send instead.

msgspec's decoders are fast, but their messages are for Python programmers (```Expected `int`, got `float` - at
`$.object_id` ```). So they decode, and this module explains only what they refuse.
"""

from __future__ import annotations

import difflib
import json
import math
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec

from streamseg.protocol.type_words import expected

_MAX_SHOWN: Final = 60
_MAX_ITEMS: Final = 300
_NOT_JSON: Final = (b"NaN", b"Infinity")


def json_problem(data: bytes, hint: Any, what: str) -> str:
    """Return what is wrong with JSON that a decoder refused.

    Args:
        data: The JSON.
        hint: Expected type.
        what: Name of the JSON, for example ``the body``.
    """
    if not data:
        return f"{what} is empty: expected a JSON object"
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        numbers = ": NaN and Infinity are not JSON" if any(word in data for word in _NOT_JSON) else ""
        return f"{what} is not JSON ({error}){numbers}"
    return field_problem(value, hint, what) or f"{what} is invalid: expected a JSON object"


def field_problem(value: Any, hint: Any, what: str) -> str | None:
    """Return what is wrong with a plain value: the first invalid field, its value and the fix; None if it is valid.

    Args:
        value: JSON decoded without a type.
        hint: Expected type.
        what: Name of the value.
    """
    try:
        return _problem(value, hint, "", what)
    except RecursionError:
        return f"{what} is nested too deeply"


def _problem(value: Any, hint: Any, path: str, what: str) -> str | None:
    base = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if isinstance(base, type) and issubclass(base, msgspec.Struct) and isinstance(value, dict):
        return _struct_problem(value, base, path, what)
    if _fits(value, hint):
        return None
    struct = _optional_struct(base)
    if struct is not None and isinstance(value, dict):
        return _struct_problem(value, struct, path, what)
    if isinstance(value, (list, tuple)) and get_origin(base) is tuple and len(value) <= _MAX_ITEMS:
        args = get_args(base)
        hints = [args[0]] * len(value) if args[-1] is ... else args
        if len(hints) == len(value):
            for index, (item, item_hint) in enumerate(zip(value, hints, strict=True)):
                if problem := _problem(item, item_hint, f"{path}[{index}]", what):
                    return problem
    words = _expected(base, struct, hint)
    return (
        f"{path or what}: {_shown(value)} is invalid: expected {words}{_about_null(value) if 'number' in words else ''}"
    )


def _struct_problem(value: dict[str, Any], struct: type[msgspec.Struct], path: str, what: str) -> str | None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, item in value.items():
        shown = "(an address)" if _may_hold_password(name) else name[:_MAX_SHOWN]
        here = f"{path}.{shown}" if path else shown
        if name in fields:
            if problem := _problem(item, fields[name].type, here, what):
                return problem
        elif struct.__struct_config__.forbid_unknown_fields:
            near = difflib.get_close_matches(name[:_MAX_SHOWN], fields, n=1)
            fix = f"did you mean {near[0]}?" if near else f"{path or what} takes {', '.join(fields) or 'no fields'}"
            return f"{here}: there is no such field; {fix}"
    for name, field in fields.items():
        if field.required and name not in value:
            return f"{path}.{name}".lstrip(".") + f" is missing: expected {expected(field.type)}"
    return None


def _expected(base: Any, struct: type[msgspec.Struct] | None, hint: Any) -> str:
    if struct is not None:
        return f"a JSON object with the fields {', '.join(struct.__struct_encode_fields__)}"
    if get_origin(base) is dict or (isinstance(base, type) and issubclass(base, msgspec.Struct)):
        return "a JSON object"
    return expected(hint)


def _optional_struct(base: Any) -> type[msgspec.Struct] | None:
    if get_origin(base) is tuple:
        return None
    structs = [arg for arg in get_args(base) if isinstance(arg, type) and issubclass(arg, msgspec.Struct)]
    return structs[0] if len(structs) == 1 else None


def _fits(value: Any, hint: Any) -> bool:
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True


def _about_null(value: Any) -> str:
    missing = value is None or (isinstance(value, (list, tuple)) and None in value)
    return " (null is what many JSON encoders write for NaN)" if missing else ""


def _shown(value: Any) -> str:
    match value:
        case dict():
            return "an object"
        case list() | tuple() if len(value) > _MAX_SHOWN:
            return f"a list of {len(value)}"
        case float() if not math.isfinite(value):
            return str(value)
        case str() if len(value) > _MAX_SHOWN:
            return f"a text of {len(value)} characters"  # do not quote a part: it may hide that this is a password
        case int() if abs(value) >= 2**64:
            return "a number of many digits"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = f"a {type(value).__name__}"
    if _may_hold_password(text):
        return "a text with an address" if isinstance(value, str) else "a list with an address"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _may_hold_password(text: str) -> bool:
    """Whether a text looks like the address of a camera, which must not be quoted."""
    return "://" in text or "@" in text
