"""The asyncio subscriber over real sockets."""

from __future__ import annotations

import asyncio
import time

import pytest

import streamseg.client.subscriber
from streamseg.client import AsyncSubscriber
from streamseg.errors import ConfigError, StreamsegError, SubscribeTimeoutError
from streamseg.protocol.clock import clock_name


def test_it_gives_the_newest_while_other_tasks_run(golden, outlet):
    async def run():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        async with AsyncSubscriber(outlet.endpoint, streams=["cam1"], timeout_s=20) as subscriber:
            outlet.wait(b"\x01v1/cam1/masks/")
            outlet.send(*(golden.masks(frame) for frame in range(40)))
            frames = []
            async for frame in subscriber:
                frames.append(frame.frame)
                if frame.frame == 39:
                    break
            before = ticks
            with pytest.raises(SubscribeTimeoutError, match="of cam1"):
                await subscriber.receive(0.1)
            assert ticks > before + 10  # waiting does not block the loop
        ticking.cancel()
        return frames

    frames = asyncio.run(run())
    assert frames == sorted(set(frames))


def test_all_gives_everything_and_sheds_a_backlog(golden, outlet):
    async def run():
        async with AsyncSubscriber(outlet.endpoint, streams=["cam1"], mode="all", timeout_s=20) as subscriber:
            outlet.wait(b"\x01v1/cam1/masks/")
            outlet.send(*(golden.masks(frame) for frame in range(10)))
            got = [(await subscriber.receive()).frame for _ in range(10)]
            stale = str(time.monotonic_ns() - 5_000_000_000)
            outlet.send(*(golden.masks(frame, clock=clock_name(), t_published_ns=stale) for frame in range(10, 20)))
            deadline = time.monotonic() + 20
            while not subscriber.stats.backlogs_shed and time.monotonic() < deadline:
                with pytest.raises(SubscribeTimeoutError):
                    await subscriber.receive(0.05)
            outlet.wait(b"\x00v1/cam1/masks/", b"\x01v1/cam1/masks/")
            now = str(time.monotonic_ns())
            outlet.send(golden.masks(20, clock=clock_name(), t_published_ns=now))
            last = await subscriber.receive()
            return got, last

    got, last = asyncio.run(run())
    assert got == list(range(10))
    assert (last.frame, last.gap) == (20, 10)


def test_it_finds_all_streams(golden, outlet):
    async def run():
        async with AsyncSubscriber(outlet.endpoint, timeout_s=20) as subscriber:
            outlet.wait(b"\x01v1/_daemon/status/")
            outlet.send(golden("daemon_status"))
            with pytest.raises(SubscribeTimeoutError):
                await subscriber.receive(0.5)
            outlet.wait(b"\x01v1/cam1/masks/")
            outlet.send(golden.masks(1))
            return await subscriber.receive()

    assert asyncio.run(run()).stream == "cam1"


def test_iteration_outlives_an_outage_and_receive_does_not(golden, outlet, monkeypatch):
    monkeypatch.setattr(streamseg.client.subscriber, "DEFAULT_TIMEOUT_S", 0.1)

    async def run():
        async with AsyncSubscriber(outlet.endpoint, streams=["cam1"]) as subscriber:
            outlet.wait(b"\x01v1/cam1/masks/")
            with pytest.raises(SubscribeTimeoutError, match=r"within 0\.1 s"):
                await subscriber.receive()
            waiting = asyncio.ensure_future(anext(subscriber))
            done, _ = await asyncio.wait([waiting], timeout=0.5)
            assert not done
            outlet.send(golden.masks(7))
            return await asyncio.wait_for(waiting, 20)

    assert asyncio.run(run()).frame == 7


def test_a_cancelled_receive_loses_nothing(golden, outlet):
    async def run():
        async with AsyncSubscriber(outlet.endpoint, streams=["cam1"], mode="all", timeout_s=20) as subscriber:
            outlet.wait(b"\x01v1/cam1/masks/")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(subscriber.receive(), 0.05)
            outlet.send(golden.masks(1), golden.masks(2))
            return [(await subscriber.receive()).frame for _ in range(2)]

    assert asyncio.run(run()) == [1, 2]


def test_a_closed_subscriber_is_an_error(outlet):
    async def run():
        with pytest.raises(ConfigError, match="endpoint"):
            AsyncSubscriber("5555")
        subscriber = AsyncSubscriber(outlet.endpoint)
        subscriber.close()
        assert [frame async for frame in subscriber] == []
        with pytest.raises(StreamsegError, match="closed"):
            await subscriber.receive()

    asyncio.run(run())
