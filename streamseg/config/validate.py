"""Converts plain values to the schema's types.

Ours because ``msgspec.convert`` stops at the first error and names neither value nor fix. It converts only the leaves
here.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec
from msgspec import inspect

from streamseg.config.problems import Path, Problems, path_name
from streamseg.config.right_form import NO_FORM, fits, right_form
from streamseg.config.schema import Config
from streamseg.config.yaml import flow
from streamseg.protocol.type_words import brief, expected, is_text

_MAX_SUGGESTIONS: Final = 20
_MAX_FORM: Final = 200

WRONG: Final = object()
"""Marks a value that could not be converted; the reason is among the problems."""


def read_value(value: Any, hint: Any, path: Path, problems: Problems) -> Any:
    """Return ``value`` as the type ``hint``, or :data:`WRONG`.

    Args:
        value: Plain value: dict, list, str, int, float, bool, None.
        hint: A type that msgspec understands.
        path: Where the value is.
        problems: Receives everything that is wrong with it.
    """
    base = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    args = get_args(base)
    if isinstance(base, type) and issubclass(base, msgspec.Struct):
        return _read_struct(value, hint, base, path, problems)
    if get_origin(base) is dict:
        return _read_dict(value, hint, args[1], path, problems)
    if get_origin(base) is tuple and args[-1] is ...:
        return _read_list(value, hint, args[0], path, problems)
    try:
        # An environment variable is always text, so "5" counts as a number there.
        return msgspec.convert(value, hint, strict=path not in problems.templates)
    except msgspec.ValidationError:
        return _wrong(value, hint, path, problems)


def settings(
    struct: type[msgspec.Struct] = Config, path: Path = ()
) -> Iterator[tuple[Path, msgspec.structs.FieldInfo]]:
    """Yield every setting of the schema with its path, in order; ``NAME`` and ``[]`` mark entries that users add."""
    for field in msgspec.structs.fields(struct):
        here = (*path, field.name)
        yield here, field
        base = get_args(field.type)[0] if get_origin(field.type) is Annotated else field.type
        inner, step = base, here
        if get_origin(base) is dict:
            inner, step = get_args(base)[1], (*here, "NAME")
        elif get_origin(base) is tuple:
            inner, step = get_args(base)[0], (*here[:-1], f"{field.name}[]")
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from settings(inner, step)


def _read_struct(value: Any, hint: Any, struct: type[msgspec.Struct], path: Path, problems: Problems) -> Any:
    if not isinstance(value, dict):
        return _wrong(value, hint, path, problems)
    fields = _fields(struct)
    read: dict[str, Any] = {}
    for key, item in value.items():
        if key not in fields:
            here = (*path, str(key))
            # A suggestion takes a millisecond; hundreds of them are slow and useless.
            fix = _nearest(key, path, fields) if len(problems.found) < _MAX_SUGGESTIONS else "remove it"
            problems.add(here, f"{problems.show(here, item)}: there is no such setting; {fix}")
            read[str(key)] = WRONG
        else:
            read[key] = read_value(item, fields[key].type, (*path, key), problems)
    for name, field in fields.items():
        if field.required and name not in value:
            example = _for_example(field.type, name)
            problems.add((*path, name), f"is missing: expected {expected(field.type)}{example}")
            read[name] = WRONG
    return WRONG if any(item is WRONG for item in read.values()) else struct(**read)


@functools.cache  # msgspec evaluates all annotations at each call, which took most of the time to read a configuration
def _fields(struct: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(struct)}


def _read_dict(value: Any, hint: Any, item_hint: Any, path: Path, problems: Problems) -> Any:
    if path == ("streams",) and value is None:
        problems.add(path, "is empty: write a stream, for example cam: {source: webcam:0}, or {} to wait for streams")
        return WRONG
    unnamed = item_hint is not Any and fits(value, item_hint)  # the settings of one entry, without its name
    if not isinstance(value, dict) or len(value) > _max_length(hint) or unnamed:
        return _wrong(value, hint, path, problems)
    read: dict[str, Any] = {}
    for key, item in value.items():
        here = (*path, str(key))
        if not isinstance(key, str):
            problems.add(here, f"YAML reads this name as {type(key).__name__} {key}: quote it")
        read[str(key)] = read_value(item, item_hint, here, problems)
    return WRONG if any(item is WRONG for item in read.values()) else read


@functools.cache  # as costly as `_fields`
def _bounds(hint: Any) -> inspect.Type:
    """Return a type with its bounds, without its description."""
    info = inspect.type_info(hint)
    return info.type if isinstance(info, inspect.Metadata) else info


def _max_length(hint: Any) -> float:
    """Maximum number of entries of a group."""
    info = _bounds(hint)
    assert isinstance(info, inspect.DictType)
    return math.inf if info.max_length is None else info.max_length


def _read_list(value: Any, hint: Any, item_hint: Any, path: Path, problems: Problems) -> Any:
    info = _bounds(hint)
    assert isinstance(info, inspect.VarTupleType)
    shortest, longest = info.min_length or 0, info.max_length
    if not isinstance(value, (list, tuple)) or not shortest <= len(value) <= (longest or len(value)):
        return _wrong(value, hint, path, problems)
    trial = Problems(templates=problems.templates)
    read = [read_value(item, item_hint, (*path, index), trial) for index, item in enumerate(value)]
    short_forms = len(trial.found) >= len(value) > 0 and not all(isinstance(item, dict) for item in value)
    if short_forms and len(problems.found) < _MAX_SUGGESTIONS and right_form(value, hint, str(path[-1])) is not NO_FORM:
        return _wrong(value, hint, path, problems)  # one entry, or a list of short forms, instead of a list
    problems.found += trial.found
    return WRONG if any(item is WRONG for item in read) else tuple(read)


def _wrong(value: Any, hint: Any, path: Path, problems: Problems) -> Any:
    words = expected(hint)
    # Like a suggestion, finding a form takes a while; hundreds of them are slow and useless.
    few = len(problems.found) < _MAX_SUGGESTIONS
    form = _shown_form(value, hint, path, problems) if value is not None and few else ""
    fix = f"expected {brief(words) if form else words}"
    if value is None or value is False:
        fix += ", or remove the line"
    fix += f": write {form}" if form else _for_example(hint, path[-1]) if path and few else ""
    problems.add(path, f"{problems.show(path, value)} is invalid: {fix}")
    return WRONG


def _shown_form(value: Any, hint: Any, path: Path, problems: Problems) -> str:
    """Return the value in its right form; empty if that is unclear."""
    name = str(path[-1]) if path and isinstance(path[-1], str) else ""
    if (template := problems.templates.get(path)) is not None:
        value = template.text  # do not reveal the variable's value
    form = right_form(value, hint, name)
    if form is NO_FORM or fits(value, hint):
        return ""
    return _on_a_line(problems.shown_form(path, {name: form} if name else form), bare=bool(name))


def _for_example(hint: Any, name: str | int) -> str:
    example = _example(hint)
    return "" if example is None else f", for example {_on_a_line({str(name): example}, bare=True)}"


def _on_a_line(value: Any, *, bare: bool) -> str:
    text = flow(value)
    if len(text) > _MAX_FORM:
        text = flow(_abridged(value))
    text = text[1:-1] if bare else text
    return text if len(text) <= _MAX_FORM else f"{text[: _MAX_FORM - 3]}..."


def _abridged(value: Any) -> Any:
    """Return a value with the first three items of each list and group."""
    if isinstance(value, dict):
        return {key: _abridged(item) for key, item in list(value.items())[:3]}
    if isinstance(value, list):
        return [*map(_abridged, value[:3]), *(["..."] if len(value) > 3 else [])]
    return value


def _example(hint: Any) -> Any:
    """Return the schema's example of a list or group; None if it has none."""
    info = inspect.type_info(hint)
    if not isinstance(info, inspect.Metadata) or info.extra_json_schema is None or is_text(info):
        return None
    return next(iter(info.extra_json_schema.get("examples", ())), None)


def _nearest(key: object, path: Path, fields: Mapping[str, object]) -> str:
    if near := difflib.get_close_matches(str(key), fields, n=1, cutoff=0.6):
        return f"did you mean {near[0]}?"
    named: dict[str, str] = {}
    for elsewhere, _ in settings():
        named.setdefault(str(elsewhere[-1]), path_name(elsewhere))
    if near := difflib.get_close_matches(str(key), named, n=1, cutoff=0.8):
        return f"did you mean {named[near[0]]}?"
    return f"{path_name(path) or 'the file'} takes {', '.join(fields)}"
