"""How long a revoked key still receives masks, and what another subscriber loses meanwhile.

    python bench/revoke.py [--times 10]

A publisher that asks for keys sends 20 frames a second to two subscribers, each with a key of its own. One key is
revoked and authorized again, as often as asked.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from streamseg.client import Subscriber
from streamseg.errors import SubscribeTimeoutError
from tests.key_files import Keys
from tests.publish.publisher_children import PublisherProcess

_PERIOD_S = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="how often the key is revoked")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as folder:
        keys = Keys(Path(folder))
        keys.authorize("other")
        publisher = PublisherProcess(
            Path(folder), keys=keys.folder.path, endpoints=("tcp://127.0.0.1:*",), require_key=True
        )
        with contextlib.closing(publisher):
            measure(publisher, keys, times)


def measure(publisher: PublisherProcess, keys: Keys, times: int) -> None:
    ended = threading.Event()
    lost: list[int] = []
    threads = [
        threading.Thread(target=send, args=(publisher, ended)),
        threading.Thread(target=count_lost, args=(publisher.ready.text, keys.path / "other.key_secret", ended, lost)),
    ]
    for thread in threads:
        thread.start()
    try:
        lives = sorted(revoke(publisher.ready.text, keys) for _ in range(times))
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    print(f"last message after the revocation: median {lives[len(lives) // 2]:.2f} s, longest {lives[-1]:.2f} s")
    print(f"the other subscriber received {len(lost)} messages and lost {sum(lost)}")


def send(publisher: PublisherProcess, ended: threading.Event) -> None:
    while not ended.wait(_PERIOD_S):
        publisher.track()


def count_lost(endpoint: str, key_file: Path, ended: threading.Event, lost: list[int]) -> None:
    with Subscriber(endpoint, key_file=key_file, mode="all") as subscriber:
        while not ended.is_set():
            with contextlib.suppress(SubscribeTimeoutError):
                lost.append(subscriber.receive(1).gap)


def revoke(endpoint: str, keys: Keys) -> float:
    """Return how long masks arrive after the key is revoked, in seconds."""
    with Subscriber(endpoint, key_file=keys.authorize("robot"), mode="all") as subscriber:
        subscriber.receive(15)
        keys.folder.revoke("robot")
        revoked = last = time.monotonic()
        with contextlib.suppress(SubscribeTimeoutError):
            while True:
                subscriber.receive(1)
                last = time.monotonic()
    return last - revoked


if __name__ == "__main__":
    main()
