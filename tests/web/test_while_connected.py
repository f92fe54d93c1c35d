"""Long work for a request ends with its client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from streamseg.web.while_connected import while_connected


class Work:
    """Work that takes as long as its client waits, or none at all; how it ended."""

    def __init__(self, *, short: bool = False) -> None:
        self.client_left = asyncio.Event()
        self.begun = asyncio.Event()
        self.ended = ""
        self._short = short

    async def run(self) -> str:
        self.begun.set()
        try:
            if not self._short:
                await asyncio.Event().wait()
            self.ended = "done"
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # it cleans up
            self.ended = "cancelled"
            raise
        return "result"

    async def request(self) -> str:
        async def receive() -> dict[str, Any]:
            await self.client_left.wait()
            return {"type": "http.disconnect"}

        async with asyncio.timeout(20):
            return await while_connected(Request({"type": "http"}, receive), self.run())


def test_a_client_that_waits_gets_the_result() -> None:
    async def check() -> None:
        work = Work(short=True)
        assert await work.request() == "result"
        assert work.ended == "done"

    asyncio.run(check())


@pytest.mark.parametrize("error", [ClientDisconnect, asyncio.CancelledError])
def test_work_has_ended_when_its_request_ends(error: type[BaseException]) -> None:
    async def check() -> None:
        work = Work()
        request = asyncio.create_task(work.request())
        await work.begun.wait()
        if error is ClientDisconnect:
            work.client_left.set()
        else:
            request.cancel()
        with pytest.raises(error):
            await request
        assert work.ended == "cancelled"

    asyncio.run(check())


def test_an_error_of_the_work_is_one_of_the_request() -> None:
    async def fails() -> None:
        raise TimeoutError("no picture")

    async def check(work: Coroutine[Any, Any, None]) -> None:
        await while_connected(Request({"type": "http"}, asyncio.Event().wait), work)  # type: ignore[arg-type]

    with pytest.raises(TimeoutError, match="no picture"):
        asyncio.run(check(fails()))
