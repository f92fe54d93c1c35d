r"""Text that is safe to encode as UTF-8.

Paths, arguments and environment variables may hold bytes that are not UTF-8. Python keeps them as surrogates, which no
UTF-8 encoder accepts. Text that leaves a process has these bytes escaped: ``caf\xe9``.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any, Final

import msgspec

ESCAPED: Final = "streamseg-escaped"
"""Error handler for encoders of files and terminals: escapes like :func:`valid_text`."""


def valid_text(text: str) -> str:
    """Return ``text`` with everything that is not valid UTF-8 shown as an escape."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that does not encode a byte
        return text.encode("utf-8", "backslashreplace").decode()


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    escaped = valid_text(error.object[error.start : error.end])
    return escaped.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(ESCAPED, _escape)


def encode_valid(encode: Callable[[Any], bytes], message: Any) -> bytes:
    """Encode a message; text in it that is not valid UTF-8 is escaped.

    Args:
        encode: The encoder, of MessagePack or JSON.
        message: The message.
    """
    try:
        return encode(message)
    except UnicodeEncodeError:
        return encode(_valid(msgspec.to_builtins(message, builtin_types=(bytes,), enc_hook=_decode_raw)))


def _decode_raw(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    raise NotImplementedError(f"cannot encode {type(value).__name__}")


def encode_json(message: Any) -> bytes:
    """Encode a message as JSON; text in it that is not valid UTF-8 is escaped."""
    return encode_valid(msgspec.json.encode, message)


def _valid(value: Any) -> Any:
    match value:
        case str():
            return valid_text(value)
        case dict():
            return {_valid(key): _valid(item) for key, item in value.items()}
        case list() | tuple():
            return [_valid(item) for item in value]
        case _:
            return value
