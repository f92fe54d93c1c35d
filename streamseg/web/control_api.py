"""Operations that change the daemon. Each one maps to an operation of the control channel."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streamseg.client import AsyncController
from streamseg.protocol.arguments import AddPrompt, Label, SetFind
from streamseg.protocol.results import Finding, Listing, PromptResult, Undone, UndoneChange
from streamseg.web.hub import Hub
from streamseg.web.operations import Operation, json_response, path_object_id, read_body
from streamseg.web.read_api import known_stream


class Rename(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The new name of an object."""

    label: Label


class ControlApi:
    """Operations that change the daemon, and the list of objects that they change.

    Args:
        hub: State of the daemon.
        controller: Client of the control channel.
    """

    def __init__(self, hub: Hub, controller: AsyncController) -> None:
        self._hub = hub
        self._controller = controller

    def operations(self) -> list[Operation]:
        """Return the table of operations."""
        stream_path = "/v1/streams/{stream}"
        object_path = "/v1/streams/{stream}/objects/{object}"
        errors = frozenset({404, 504})
        body_errors = errors | {415, 422}
        return [
            Operation(
                "GET",
                "/v1/control",
                self.listing,
                "List streams with their objects as the worker holds them, and whether tracking is paused.",
                Listing,
                errors=errors,
            ),
            Operation(
                "POST",
                f"{stream_path}/prompts",
                self.add_prompt,
                "Start an object, correct one, or preview a mask.",
                PromptResult,
                body=AddPrompt,
                errors=body_errors | {410},
            ),
            Operation("PATCH", object_path, self.rename, "Name an object.", None, body=Rename, errors=body_errors),
            Operation("DELETE", object_path, self.remove, "Stop tracking an object.", None, errors=errors),
            Operation(
                "POST",
                f"{object_path}/undo",
                self.undo,
                "Undo the last prompt of an object.",
                Undone,
                errors=errors | {409},
            ),
            Operation(
                "POST",
                f"{stream_path}/undo",
                self.undo_change,
                "Undo the last change of a stream: a prompt, a removal, a reset or a name.",
                UndoneChange,
                errors=errors | {409},
            ),
            Operation(
                "POST",
                f"{stream_path}/redo",
                self.redo_change,
                "Do the change again that was undone last.",
                UndoneChange,
                errors=errors | {409, 410, 422},
            ),
            Operation(
                "POST",
                f"{stream_path}/find",
                self.set_find,
                "Set whether and how objects are found without a prompt.",
                Finding,
                body=SetFind,
                errors=body_errors,
            ),
            Operation("POST", f"{stream_path}/reset", self.reset, "Remove all objects.", None, errors=errors),
            Operation("POST", f"{stream_path}/pause", self.pause, "Pause tracking.", None, errors=errors),
            Operation("POST", f"{stream_path}/resume", self.resume, "Resume tracking.", None, errors=errors),
        ]

    def _stream(self, request: Request) -> str:
        return known_stream(self._hub, request)

    async def listing(self, request: Request) -> Response:
        """Return all streams with their objects."""
        return json_response(Listing(streams=await self._controller.list()))

    async def add_prompt(self, request: Request) -> Response:
        """Apply a prompt to the frame it was made on."""
        stream = self._stream(request)
        prompt = await read_body(request, AddPrompt)
        return json_response(await self._controller.add_prompt(stream, **msgspec.structs.asdict(prompt)))

    async def rename(self, request: Request) -> Response:
        """Name an object."""
        stream, obj_id = self._stream(request), path_object_id(request)
        await self._controller.label_object(stream, obj_id, (await read_body(request, Rename)).label)
        return Response(status_code=204)

    async def remove(self, request: Request) -> Response:
        """Remove an object."""
        await self._controller.remove_object(self._stream(request), path_object_id(request))
        return Response(status_code=204)

    async def undo_change(self, request: Request) -> Response:
        """Undo the last change of a stream."""
        return json_response(await self._controller.undo(self._stream(request)))

    async def redo_change(self, request: Request) -> Response:
        """Do the change again that was undone last."""
        return json_response(await self._controller.redo(self._stream(request)))

    async def undo(self, request: Request) -> Response:
        """Undo the last prompt of an object."""
        return json_response(await self._controller.undo_prompt(self._stream(request), path_object_id(request)))

    async def set_find(self, request: Request) -> Response:
        """Set whether and how objects of a stream are found without a prompt."""
        stream, wanted = self._stream(request), await read_body(request, SetFind)
        return json_response(await self._controller.set_find(stream, wanted.enabled, wanted.settings))

    async def reset(self, request: Request) -> Response:
        """Remove all objects of a stream."""
        await self._controller.reset(self._stream(request))
        return Response(status_code=204)

    async def pause(self, request: Request) -> Response:
        """Pause tracking."""
        await self._controller.pause(self._stream(request))
        return Response(status_code=204)

    async def resume(self, request: Request) -> Response:
        """Resume tracking."""
        await self._controller.resume(self._stream(request))
        return Response(status_code=204)
