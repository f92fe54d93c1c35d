"""Read masks and events side by side with asyncio, and ask the daemon a question.

python examples/async_subscribe.py [ENDPOINT [CONTROL [KEY_FILE]]]
"""

import asyncio
import sys

from streamseg.client import AsyncController, AsyncSubscriber

ENDPOINT = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555"
CONTROL = sys.argv[2] if len(sys.argv) > 2 else None
KEY = sys.argv[3] if len(sys.argv) > 3 else None  # of this program, if the daemon asks for one


async def print_masks() -> None:
    """Print every frame's areas."""
    async with AsyncSubscriber(ENDPOINT, key_file=KEY) as frames:
        async for frame in frames:
            areas = {obj.id: int(obj.mask.sum()) for obj in frame.objects}
            print(f"{frame.stream} {frame.frame}: {areas}, {frame.age_ms:.0f} ms old", flush=True)


async def print_events() -> None:
    """Print what happens to streams and objects."""
    async with AsyncSubscriber(ENDPOINT, kinds=["events"], key_file=KEY) as events:
        async for event in events:
            print(f"{event.stream}: {event.event} {event.label} {event.detail}", flush=True)


async def main() -> None:
    """Ask first, then read both."""
    async with AsyncController(CONTROL, key_file=KEY) as control:
        daemon = await control.hello()
        print(f"streamseg {daemon.version} with {daemon.model}: {', '.join(daemon.streams)}", flush=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(print_masks())
        tasks.create_task(print_events())


asyncio.run(main())
