"""Operations that return example programs that subscribe to a stream, with the daemon's address filled in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from streamseg.web.api_error import ApiError
from streamseg.web.hub import Hub
from streamseg.web.operations import LANGUAGES, Operation
from streamseg.web.read_api import known_stream

_PROGRAMS: Final = Path(__file__).parent / "programs"
_MEDIA_TYPE: Final = "text/plain; charset=utf-8"
_EVERY_ADDRESS: Final = re.compile(r"tcp://(?:\*|0\.0\.0\.0|\[::\])(?=:)")
_ENDPOINT: Final = '"tcp://127.0.0.1:5555"'
_STREAM: Final = '"cam"'
_KEY_COMMAND: Final = "streamseg keys authorize NAME"
_NOTE: Final = re.compile(
    r"\n(?://)?\n[^\n]*The daemon asks for a key\..*?beside this program\.(?:\n(?=\"))?", re.DOTALL
)
"""The text of a program about its key."""
_KEY: Final = {
    "py": ((', key_file="NAME.key_secret", timeout_s=30', ""),),
    "cpp": (('    const auto keys = streamseg::Keys::load("NAME.key_secret");\n', ""), (', {"masks"}, keys)', ")")),
    "mjs": (('const keys = loadKeys("NAME.key_secret");\n', ""), (", keys }", " }"), (", loadKeys", "")),
}
"""The code of a program with a key, and without one."""
_LOCAL: Final = re.compile(r"tcp://(127\.|localhost:|\[::1\])|ipc://")


class ProgramApi:
    """Programs for a stream. The files of ``programs/`` run as they are.

    Their address and stream are replaced. If no key is needed, text and code about it are removed.

    Args:
        hub: State of the daemon.
        endpoint: Where programs can subscribe.
        key_command: Command that makes the key they need there; empty if they need none.
    """

    def __init__(self, hub: Hub, endpoint: str, key_command: str) -> None:
        self._hub = hub
        self._endpoint = endpoint
        texts = {language: (_PROGRAMS / f"subscriber.{language}").read_text() for language in LANGUAGES}
        self._texts = {
            language: text.replace(_KEY_COMMAND, key_command) if key_command else _without_key(text, language)
            for language, text in texts.items()
        }

    def operations(self) -> list[Operation]:
        """Return the table of operations."""
        return [
            Operation(
                "GET",
                "/v1/streams/{stream}/subscriber.{language}",
                self.subscriber,
                "A program that receives the masks of the stream, with the address of the daemon.",
                _MEDIA_TYPE,
                errors=frozenset({404}),
            )
        ]

    async def subscriber(self, request: Request) -> Response:
        """Return a program that subscribes to a stream."""
        stream, language = known_stream(self._hub, request), request.path_params["language"]
        text = self._texts.get(language)
        if text is None:
            raise ApiError(404, "NOT_FOUND", f"there is no program in {language[:20]!r}: use {', '.join(LANGUAGES)}")
        endpoint = endpoint_for(self._endpoint, request.url.hostname)
        if _LOCAL.match(endpoint):
            text = text.replace("masks of a stream", "masks of a stream on the machine of the daemon", 1)
        filled = text.replace(_ENDPOINT, json.dumps(endpoint)).replace(_STREAM, json.dumps(stream))
        return Response(filled, media_type=_MEDIA_TYPE)


def _without_key(text: str, language: str) -> str:
    text = _NOTE.sub("", text, count=1)
    for with_key, without in _KEY[language]:
        text = text.replace(with_key, without, 1)
    return text


def endpoint_for(endpoint: str, host: str | None) -> str:
    """Return where a program subscribes.

    Args:
        endpoint: Where the daemon publishes. A wildcard address is replaced by a concrete one.
        host: Name by which the browser reaches the machine.
    """
    if host is None or host == "localhost":
        host = "127.0.0.1"
    return _EVERY_ADDRESS.sub(f"tcp://[{host}]" if ":" in host else f"tcp://{host}", endpoint)
