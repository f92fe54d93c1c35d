"""Tests of what a client knows about its handshakes."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import threading
import time

import pytest
import zmq

from streamseg.client.keys import HandshakeWatch

_IDLE_CLIENT = """
import socket, threading, zmq
from streamseg.client.keys import HandshakeWatch

server = socket.create_server(("127.0.0.1", 0), backlog=64)
enough = threading.Event()

def accept_and_close():
    for _ in range(2100):
        server.accept()[0].close()
    enough.set()

threading.Thread(target=accept_and_close, daemon=True).start()
context = zmq.Context()
client = context.socket(zmq.SUB)
client.setsockopt(zmq.RECONNECT_IVL, 1)
watch = HandshakeWatch(context, client, keyed=False)
for _ in range(16):
    client.connect(f"tcp://127.0.0.1:{server.getsockname()[1]}")
print("tried on" if enough.wait(30) else "stopped", flush=True)
watch.close()
client.close(linger=0)
context.term()
print("closed")
"""


def test_an_idle_client_survives_thousands_of_failed_handshakes() -> None:
    # In a process of its own: if it fails, the process is frozen.
    done = subprocess.run([sys.executable, "-c", _IDLE_CLIENT], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split("\n") == ["tried on", "closed", ""], done.stderr


def _watching() -> int:
    return sum(thread.name == "streamseg-handshakes" for thread in threading.enumerate())


@pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning")
def test_the_thread_ends_with_the_watch_and_with_a_socket_that_is_only_dropped() -> None:
    before = _watching()
    with zmq.Context() as context:
        client = context.socket(zmq.SUB)
        watch = HandshakeWatch(context, client, keyed=False)
        assert _watching() == before + 1
        watch.close()
        assert _watching() == before
        client.close(linger=0)

        dropped = context.socket(zmq.SUB)
        watch = HandshakeWatch(context, dropped, keyed=False)
        thread = watch._thread
        del dropped, watch
        gc.collect()
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_a_server_that_hangs_up_may_ask_for_a_key() -> None:
    """One that asks for a key often closes before its greeting is read."""
    with socket.create_server(("127.0.0.1", 0)) as server, zmq.Context() as context:
        client = context.socket(zmq.SUB)
        watch = HandshakeWatch(context, client, keyed=False)
        client.connect(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        deadline = time.monotonic() + 15
        server.settimeout(15)
        while not watch.problem:
            assert time.monotonic() < deadline
            server.accept()[0].close()
        assert "perhaps it asks for a key" in watch.problem
        server.close()
        while watch.problem:
            assert time.monotonic() < deadline
        watch.close()
        client.close(linger=0)


def test_the_reason_outlives_the_socket_that_learned_it() -> None:
    """A refused socket is replaced every two seconds; a timeout just after that still says why."""
    with zmq.Context() as context:
        client = context.socket(zmq.SUB)
        watch = HandshakeWatch(context, client, keyed=True, problem="it refused the key")
        assert watch.problem == "it refused the key"
        assert not watch.gave_up
        watch.close()
        client.close(linger=0)
