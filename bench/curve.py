"""What CURVE costs the publisher: CPU time per message, with one subscriber and with many, with keys and without.

The publisher's own sockets, gate and access send messages of the size of a frame's masks to subscribers in another
process, over tcp on this machine. CPU time is of the whole publisher process with libzmq's thread, which encrypts once
for each subscriber. All arms run in turns, so that a busy machine slows them alike.

    python bench/curve.py                             # 1 and 300 subscribers, 25 kB, 3 rounds
    python bench/curve.py --subscribers 1 50 --kilobytes 100 --rounds 1
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import zmq
from hardware import write_results

from streamseg.client.keys import load_keys
from streamseg.config.schema import PublishConfig
from streamseg.publish.sockets import PublisherSockets
from streamseg.security.key_folder import KeyFolder, write_pair

TOPIC = b"v1/cam1/masks/"
DELIVERIES_PER_S = 1500
"""To all subscribers together: few enough that no queue fills."""
SILENCE_MS = 20_000

context = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Arm:
    """Subscribers to one publisher.

    Attributes:
        subscribers: How many.
        key: File of their key; None for no CURVE.
    """

    subscribers: int
    key: Path | None


def subscribe(endpoint: str, arm: Arm, connection: Connection) -> None:
    """Count messages until the publisher says how many there were. Runs in a process of its own."""
    keys = load_keys(arm.key)
    with zmq.Context() as here:
        sockets = []
        for _ in range(arm.subscribers):
            socket = here.socket(zmq.SUB)
            if keys is not None:
                keys.apply(socket)
            socket.setsockopt(zmq.SUBSCRIBE, TOPIC)
            socket.connect(endpoint)
            sockets.append(socket)
        poller = zmq.Poller()
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        received = 0
        while not connection.poll():
            for socket, _ in poller.poll(20):
                socket.recv_multipart()
                received += 1
        expected = connection.recv() * arm.subscribers
        while received < expected and (ready := poller.poll(SILENCE_MS)):
            for socket, _ in ready:
                socket.recv_multipart()
                received += 1
        connection.send(received)
        for socket in sockets:
            socket.close(linger=0)


def admit(sockets: PublisherSockets, count: int) -> None:
    """Handle handshakes and subscriptions until all have subscribed."""
    subscribed = 0
    deadline = time.monotonic() + SILENCE_MS / 1000
    while subscribed < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{subscribed} of {count} have subscribed")
        if sockets.gate is not None:
            sockets.gate.handle_handshakes()
        if not sockets.outlet.poll(1):
            continue
        message = sockets.outlet.recv(copy=False)
        taken = [message.bytes] if sockets.access is None else sockets.access.take(message)
        if taken:
            subscribed += 1
            deadline = time.monotonic() + SILENCE_MS / 1000


def measure(arm: Arm, keys: KeyFolder, folder: Path, size: int, seconds: float) -> float:
    """Return the CPU time per message and subscriber, in microseconds."""
    sockets = PublisherSockets(f"ipc://{folder}/commands")
    publish = PublishConfig(endpoints=("tcp://127.0.0.1:*",), require_key=arm.key is not None)
    ours, theirs = context.Pipe()
    try:
        (endpoint,) = sockets.bind(f"ipc://{folder}/in", publish, None, keys)
        child = context.Process(target=subscribe, args=(endpoint, arm, theirs), daemon=True)
        child.start()
        admit(sockets, arm.subscribers)
        payload = np.random.default_rng(0).bytes(size)
        messages = max(10, int(seconds * DELIVERIES_PER_S / arm.subscribers))
        began, cpu = time.monotonic(), time.process_time()
        for number in range(messages):
            time.sleep(max(0.0, began + number * arm.subscribers / DELIVERIES_PER_S - time.monotonic()))
            sockets.publish((TOPIC, payload))
        ours.send(messages)
        if not ours.poll(2 * SILENCE_MS / 1000):
            raise TimeoutError("the subscribers do not answer")
        received = ours.recv()
        spent = time.process_time() - cpu
        child.join(10)
        if received != messages * arm.subscribers:
            print(f"{messages * arm.subscribers - received} of {messages * arm.subscribers} messages were lost")
        return 1e6 * spent / max(1, received)
    finally:
        sockets.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, nargs="+", default=[1, 300])
    parser.add_argument("--kilobytes", type=float, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args()
    found: dict[tuple[int, bool], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = KeyFolder(folder / "keys")
        key = folder / "bench.key_secret"
        public = write_pair(key, {"name": "bench", "server-key": keys.make_own_pair().decode()})
        keys.authorize("bench", public, "watch")
        for _ in range(args.rounds):
            for count in args.subscribers:
                for file in (None, key):
                    us = measure(Arm(count, file), keys, folder, int(1000 * args.kilobytes), args.seconds)
                    found.setdefault((count, file is not None), []).append(us)
    lines = ["| subscribers | without, us | CURVE, us | ratio of each round |", "|---|---|---|---|"]
    for count in args.subscribers:
        plain, curve = found[count, False], found[count, True]
        ratios = [b / a for a, b in zip(plain, curve, strict=True)]
        lines.append(
            f"| {count} | {statistics.median(plain):.0f} ({min(plain):.0f} to {max(plain):.0f}) "
            f"| {statistics.median(curve):.0f} ({min(curve):.0f} to {max(curve):.0f}) "
            f"| {min(ratios):.1f} to {max(ratios):.1f} |"
        )
    text = f"CPU of the publisher per message and subscriber, {args.kilobytes:g} kB, {args.rounds} rounds:\n\n"
    text += "\n".join(lines)
    print(text)
    write_results(text, {"us": {f"{count} {curve}": us for (count, curve), us in found.items()}}, args)


if __name__ == "__main__":
    main()
