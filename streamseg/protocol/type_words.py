"""Describes the values that a type accepts, for messages: ``a number above 0, at most 3600``."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import inspect

_MAX_WORDS: Final = 80


def expected(hint: Any) -> str:
    """Return a description of the values that a type accepts."""
    return _in_words(inspect.type_info(hint))


def brief(words: str) -> str:
    """Return the text of :func:`expected` without a long list of fields."""
    return words if len(words) <= _MAX_WORDS else words.partition(" (")[0]


def is_text(info: inspect.Type) -> bool:
    """Return whether a type takes text."""
    match info:
        case inspect.Metadata(type=inner):
            return is_text(inner)
        case inspect.UnionType(types=types):
            return any(is_text(each) for each in types)
        case _:
            return isinstance(info, inspect.StrType)


def _in_words(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata(extra_json_schema={"examples": [*examples]}) if is_text(info):
            return f"text like {', '.join(map(str, examples))}"
        case inspect.Metadata(type=inner):
            return _in_words(inner)
        case inspect.UnionType(types=types):
            return " or ".join(_in_words(each) for each in types if not isinstance(each, inspect.NoneType))
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType(min_length=int(shortest), max_length=int(longest)):
            return f"text of {shortest} to {longest} characters"
        case inspect.StrType(max_length=int(longest)):
            return f"text of at most {longest} characters"
        case inspect.StrType():
            return "text"
        case inspect.IntType():
            return f"a whole number{_bounds(info)}"
        case inspect.FloatType():
            return f"a number{_bounds(info)}"
        case inspect.LiteralType(values=values):
            *first, last = map(str, values)
            return f"{', '.join(first)} or {last}" if first else last
        case inspect.TupleType(item_types=items):
            return f"a list of {len(items)} {_plural(items[0])}"
        case inspect.VarTupleType(item_type=item):
            return f"a list of {_counted(info)}{_plural(item)}"
        case inspect.DictType(max_length=int(longest)):
            return f"a group of settings for each of at most {longest} names"
        case inspect.DictType():
            return "a group of settings for each name"
        case inspect.StructType(cls=cls):
            return f"a group of settings ({', '.join(field.name for field in msgspec.structs.fields(cls))})"
        case _:
            return str(info)


def _plural(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata(type=inner):
            return _plural(inner)
        case inspect.IntType() | inspect.FloatType():
            return "numbers"
        case inspect.TupleType(item_types=items):
            return f"lists of {len(items)} {_plural(items[0])}"
        case inspect.VarTupleType(item_type=item):
            return f"lists of {_counted(info)}{_plural(item)}"
        case inspect.StructType(cls=cls):
            return f"groups of settings ({', '.join(field.name for field in msgspec.structs.fields(cls))})"
        case _:
            return "texts"


def _counted(info: inspect.VarTupleType) -> str:
    if info.max_length is not None:
        return f"{info.min_length or 0} to {info.max_length} "
    return f"{info.min_length} or more " if info.min_length else ""


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    words = []
    if info.ge is not None and info.le is not None:
        words.append(f" from {info.ge} to {info.le}")
    else:
        words += [f" above {info.gt}"] if info.gt is not None else []
        words += [f" of at least {info.ge}"] if info.ge is not None else []
        words += [f", at most {info.le}"] if info.le is not None else []
    words += [f", a multiple of {info.multiple_of}"] if info.multiple_of is not None else []
    return "".join(words)
