"""Operations on the set of streams: test an address; add, change and remove streams. They need the role ``control``."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from streamseg.client import AsyncController
from streamseg.config.schema import FindConfig, HttpConfig, LineConfig, ZoneConfig
from streamseg.protocol.results import StreamSettings
from streamseg.web.api_error import ApiError
from streamseg.web.hub import Hub
from streamseg.web.operations import Operation, json_response, read_body
from streamseg.web.read_api import known_stream
from streamseg.web.source_guard import check_source
from streamseg.web.source_probe import SourceProbe, SourceReport, suggest_name
from streamseg.web.while_connected import while_connected

Source = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2000,
        description="rtsp, rtsps, http or https address, or webcam:0. Environment variables are not replaced.",
    ),
]
Transport = Annotated[Literal["tcp", "udp"], Meta(description="RTSP only: transport of the media packets.")]


class TestedSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The address to test."""

    source: Source
    transport: Transport = "tcp"


class NewStream(TestedSource, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The stream to add."""

    zones: Annotated[dict[str, ZoneConfig], Meta(max_length=32, description="As under streams.NAME.zones.")] = {}
    lines: Annotated[dict[str, LineConfig], Meta(max_length=32, description="As under streams.NAME.lines.")] = {}


class ChangedStream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings to change: as under ``streams.NAME`` in a configuration file. Those left out stay."""

    transport: Transport | msgspec.UnsetType = msgspec.UNSET
    deinterlace: Literal["auto", "on", "off"] | msgspec.UnsetType = msgspec.UNSET
    on_discontinuity: Literal["keep", "reset", "reprompt"] | msgspec.UnsetType = msgspec.UNSET
    overlap: Literal["allowed", "exclusive"] | msgspec.UnsetType = msgspec.UNSET
    repeat_static: bool | msgspec.UnsetType = msgspec.UNSET
    mask_cleanup: Annotated[int, Meta(ge=0, le=1_000_000)] | msgspec.UnsetType = msgspec.UNSET
    lost_after_s: Annotated[float, Meta(gt=0, le=3600)] | msgspec.UnsetType = msgspec.UNSET
    uncertain_below: Annotated[float, Meta(ge=0, le=1)] | msgspec.UnsetType = msgspec.UNSET
    zones: Annotated[dict[str, ZoneConfig], Meta(max_length=32)] | msgspec.UnsetType = msgspec.UNSET
    lines: Annotated[dict[str, LineConfig], Meta(max_length=32)] | msgspec.UnsetType = msgspec.UNSET
    find: FindConfig | msgspec.UnsetType = msgspec.UNSET


class StreamApi:
    """Operations on the set of streams.

    Args:
        hub: State of the daemon.
        controller: Client of the control channel.
        http: Settings.
    """

    def __init__(self, hub: Hub, controller: AsyncController, http: HttpConfig) -> None:
        self._hub = hub
        self._controller = controller
        self._http = http
        self._probe = SourceProbe()

    def operations(self) -> list[Operation]:
        """Return the table of operations."""
        path = "/v1/streams/{stream}"
        return [
            Operation(
                "POST",
                "/v1/sources/probe",
                self.probe,
                "Test an address: open it, measure it for a second, return its first picture.",
                SourceReport,
                body=TestedSource,
                errors=frozenset({415, 422, 504}),
            ),
            Operation(
                "POST",
                path,
                self.add,
                "Add a stream: open its source and track it.",
                None,
                body=NewStream,
                errors=frozenset({409, 415, 422, 504}),
            ),
            Operation(
                "GET",
                f"{path}/settings",
                self.settings,
                "Settings of a stream, without its source and prompts.",
                StreamSettings,
                errors=frozenset({404, 504}),
            ),
            Operation(
                "PATCH",
                f"{path}/settings",
                self.change,
                "Change settings of a stream while it runs.",
                StreamSettings,
                body=ChangedStream,
                errors=frozenset({404, 415, 422, 504}),
            ),
            Operation("DELETE", path, self.remove, "Remove a stream.", None, errors=frozenset({404, 504})),
        ]

    async def probe(self, request: Request) -> Response:
        """Test an address."""
        tested = await read_body(request, TestedSource)
        await self._check(tested.source)
        measured = self._probe.measure(
            tested.source, transport=tested.transport, follow_redirects=self._follows_redirects
        )
        report = await while_connected(request, measured)
        return json_response(msgspec.structs.replace(report, name=suggest_name(tested.source, self._hub.streams)))

    async def add(self, request: Request) -> Response:
        """Add a stream."""
        new = await read_body(request, NewStream)
        await self._check(new.source)
        settings: dict[str, Any] = msgspec.to_builtins(new)
        settings["follow_redirects"] = self._follows_redirects
        await self._controller.add_stream(str(request.path_params["stream"]), settings)
        return Response(status_code=204)

    async def settings(self, request: Request) -> Response:
        """Return the settings of a stream."""
        return json_response(await self._controller.get_settings(known_stream(self._hub, request)))

    async def change(self, request: Request) -> Response:
        """Change settings of a stream."""
        stream = known_stream(self._hub, request)
        changed = msgspec.to_builtins(await read_body(request, ChangedStream))
        return json_response(await self._controller.change_stream(stream, changed))

    async def remove(self, request: Request) -> Response:
        """Remove a stream."""
        await self._controller.remove_stream(known_stream(self._hub, request))
        return Response(status_code=204)

    @property
    def _follows_redirects(self) -> bool:
        return self._http.allow_own_addresses

    async def _check(self, source: str) -> None:
        if "${" in source:
            raise ApiError(422, "BAD_CONFIG", _NO_VARIABLES)
        await check_source(source, self._http)


_NO_VARIABLES: Final = (
    "source: environment variables are not replaced in an address that comes by HTTP: write the value, or add the "
    "stream to the configuration file"
)
