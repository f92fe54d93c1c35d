"""What a person does on the page, as HTTP: each operation is one of the control channel's."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streamseg.client import AsyncController
from streamseg.protocol.control import AddPrompt, Label, Listing, Prompted, Undone
from streamseg.web.hub import Hub
from streamseg.web.operations import Operation, body_of, json_answer, object_of
from streamseg.web.read_api import view_of


class Rename(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object's new name."""

    label: Label


class ControlApi:
    """Operations that change something.

    Args:
        hub: Knows the streams.
        controller: Does what is asked.
    """

    def __init__(self, hub: Hub, controller: AsyncController) -> None:
        self._hub = hub
        self._controller = controller

    def operations(self) -> list[Operation]:
        """Return the table."""
        of_stream = "/v1/streams/{stream}"
        of_object = "/v1/streams/{stream}/objects/{object}"
        refusals = frozenset({404, 504})
        with_body = refusals | {415, 422}
        return [
            Operation(
                "GET",
                "/v1/control",
                self.listing,
                "Streams with their objects as the worker has them, and whether they are paused.",
                Listing,
                refusals=refusals,
            ),
            Operation(
                "POST",
                f"{of_stream}/prompts",
                self.add_prompt,
                "Start an object, correct one, or preview a mask.",
                Prompted,
                body=AddPrompt,
                refusals=with_body | {410},
            ),
            Operation("PATCH", of_object, self.rename, "Name an object.", None, body=Rename, refusals=with_body),
            Operation("DELETE", of_object, self.remove, "Follow an object no longer.", None, refusals=refusals),
            Operation(
                "POST",
                f"{of_object}/undo",
                self.undo,
                "Take an object's last prompt back.",
                Undone,
                refusals=refusals | {409},
            ),
            Operation("POST", f"{of_stream}/reset", self.reset, "Forget all objects.", None, refusals=refusals),
            Operation("POST", f"{of_stream}/pause", self.pause, "Stop tracking.", None, refusals=refusals),
            Operation("POST", f"{of_stream}/resume", self.resume, "Track again.", None, refusals=refusals),
        ]

    def _stream(self, request: Request) -> str:
        view_of(self._hub, request)
        return str(request.path_params["stream"])

    async def listing(self, request: Request) -> Response:
        """Return what the worker has."""
        return json_answer(Listing(streams=await self._controller.list()))

    async def add_prompt(self, request: Request) -> Response:
        """Apply a prompt to the frame that it was made on."""
        stream = self._stream(request)
        prompt = await body_of(request, AddPrompt)
        result = await self._controller.add_prompt(stream, **msgspec.structs.asdict(prompt))
        told = {name: getattr(result, name) for name in Prompted.__struct_fields__ if name != "mask"}
        return json_answer(Prompted(mask=result.rle, **told))

    async def rename(self, request: Request) -> Response:
        """Name an object."""
        stream, obj_id = self._stream(request), object_of(request)
        await self._controller.label_object(stream, obj_id, (await body_of(request, Rename)).label)
        return Response(status_code=204)

    async def remove(self, request: Request) -> Response:
        """Remove an object."""
        await self._controller.remove_object(self._stream(request), object_of(request))
        return Response(status_code=204)

    async def undo(self, request: Request) -> Response:
        """Undo an object's last prompt."""
        return json_answer(await self._controller.undo_prompt(self._stream(request), object_of(request)))

    async def reset(self, request: Request) -> Response:
        """Forget all objects of a stream."""
        await self._controller.reset(self._stream(request))
        return Response(status_code=204)

    async def pause(self, request: Request) -> Response:
        """Stop tracking a stream."""
        await self._controller.pause(self._stream(request))
        return Response(status_code=204)

    async def resume(self, request: Request) -> Response:
        """Track a stream again."""
        await self._controller.resume(self._stream(request))
        return Response(status_code=204)
