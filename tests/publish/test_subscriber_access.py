"""A publisher that asks for keys: who gets what, and what a wire tap sees."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from streamseg.client import Subscriber
from streamseg.client.keys import ClientKeys, load_keys
from streamseg.config.schema import PublishConfig
from streamseg.errors import ConfigError, SubscribeTimeoutError
from streamseg.publish.sockets import PublisherSockets
from streamseg.security.key_folder import KeyFolder
from tests.key_files import PAST, Keys
from tests.publish.publisher_children import PublisherProcess, child, collect


@pytest.fixture(scope="module")
def publisher(module_keys: Keys) -> Iterator[PublisherProcess]:
    """A publisher of two streams, with a keyed tcp endpoint and an ipc one."""
    module_keys.authorize("all")
    module_keys.authorize("door", streams=("door*",))
    running = PublisherProcess(
        module_keys.path,
        streams=("door", "yard"),
        keys=module_keys.folder.path,
        endpoints=("tcp://127.0.0.1:*", f"ipc://{module_keys.path}/pub"),
        require_key=True,
    )
    running.tcp, running.endpoint = running.ready.text.split()
    yield running
    running.close()


def track_until(publisher: PublisherProcess, subscriber: Subscriber, *streams: str, timeout_s: float = 15) -> set[str]:
    """Send masks of both streams until those of the given ones have arrived; return what did."""
    seen: set[str] = set()
    deadline = time.monotonic() + timeout_s
    while not seen >= set(streams) and time.monotonic() < deadline:
        for stream in ("door", "yard"):
            publisher.track(stream)
        with contextlib.suppress(SubscribeTimeoutError):
            while True:
                seen.add(subscriber.receive(0.05).stream)
    return seen


def test_a_key_gives_access_and_patterns_limit_it(publisher, module_keys):
    with (
        Subscriber(publisher.tcp, key_file=module_keys.path / "door.key_secret") as limited,
        Subscriber(publisher.tcp, key_file=module_keys.path / "all.key_secret") as unlimited,
        Subscriber(publisher.endpoint) as local,  # ipc: the mode of the file decides
    ):
        assert track_until(publisher, unlimited, "door", "yard") == {"door", "yard"}
        assert track_until(publisher, local, "door", "yard") == {"door", "yard"}
        assert track_until(publisher, limited, "door") == {"door"}
        assert track_until(publisher, limited, "yard", timeout_s=1) == {"door"}  # subscribed to, never received


def test_short_prefixes_need_a_key_for_all_streams(publisher, module_keys):
    with zmq.Context() as context, context.socket(zmq.SUB) as everything, context.socket(zmq.SUB) as one:
        for wanted, subscriber in ((b"", everything), (b"v1/door/masks/", one)):
            found = load_keys(module_keys.path / "door.key_secret")
            assert isinstance(found, ClientKeys)
            found.apply(subscriber)
            subscriber.subscribe(wanted)
            subscriber.connect(publisher.tcp)
        deadline = time.monotonic() + 15
        while not one.poll(20):
            assert time.monotonic() < deadline
            publisher.track("door")
        assert not everything.poll(200)


def test_a_topic_longer_than_any_stream_s_costs_the_connection(publisher, module_keys):
    """libzmq has stored it by the time it is looked at, and frees it with the connection only."""
    with zmq.Context() as context, context.socket(zmq.XSUB) as hostile:
        hostile.linger = 0
        found = load_keys(module_keys.path / "door.key_secret")
        assert isinstance(found, ClientKeys)
        found.apply(hostile)
        monitor = hostile.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        hostile.connect(publisher.tcp)
        assert monitor.poll(15_000)
        assert recv_monitor_message(monitor)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
        hostile.send(b"\x01v1/door/masks/" + b"x" * 300)
        assert monitor.poll(15_000)
        assert recv_monitor_message(monitor)["event"] == zmq.EVENT_DISCONNECTED
        hostile.disable_monitor()
        monitor.close(linger=0)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("unknown", "refused the key"),
        ("expired", "refused the key"),
        (None, "asks for a key"),
        ("other-server", "perhaps it is not the daemon of that server_key"),
    ],
)
def test_refused_subscribers_get_nothing_and_learn_the_reason(publisher, module_keys, key, why):
    file, server = None, None
    if key is not None:
        file = module_keys.path / f"{key}.key_secret"
        if not file.exists():
            module_keys.make(key)
        if key == "expired":
            module_keys.authorize(key, expires=PAST)
        if key == "other-server":
            server = "A" * 40
    with Subscriber(publisher.tcp, kinds=["status"], key_file=file, server_key=server) as subscriber:
        reason = ""
        deadline = time.monotonic() + 15
        while not re.search(why, reason):
            assert time.monotonic() < deadline, reason
            with pytest.raises(SubscribeTimeoutError) as raised:
                subscriber.receive(0.2)
            reason = str(raised.value)
        with pytest.raises(SubscribeTimeoutError, match=why):
            subscriber.receive(2)  # a status comes each second


def test_a_revoked_key_ends_others_lose_nothing_and_authorized_again_it_comes_back(publisher, module_keys):
    file = module_keys.authorize("robot")
    options = {"kinds": ["status"], "mode": "all"}
    with (
        Subscriber(publisher.tcp, key_file=file, **options) as robot,
        Subscriber(publisher.tcp, key_file=module_keys.path / "all.key_secret", **options) as other,
    ):
        assert robot.receive(15)
        assert other.receive(15)
        module_keys.folder.revoke("robot")
        assert "refused the key" in end_of(robot)
        gaps = 0
        with contextlib.suppress(SubscribeTimeoutError):
            while True:
                gaps += other.receive(0.1).gap
        assert gaps == 0
        module_keys.authorize("robot")
        assert robot.receive(15)


def end_of(subscriber: Subscriber) -> str:
    """Receive until nothing comes for 2 s (a status comes each second); return the error."""
    while True:
        try:
            subscriber.receive(2)
        except SubscribeTimeoutError as error:
            return str(error)


def test_a_wire_tap_shows_no_plain_text(publisher, module_keys):
    """A proxy between subscriber and publisher records all bytes: no topic, no label, no header."""
    host, port = publisher.tcp.removeprefix("tcp://").split(":")
    file = module_keys.path / "all.key_secret"
    with Tap((host, int(port))) as tap, Subscriber(f"tcp://127.0.0.1:{tap.port}", key_file=file) as subscriber:
        assert track_until(publisher, subscriber, "door") >= {"door"}
    assert len(tap.recorded) > 1000
    # Each is long enough not to occur in encrypted bytes by chance.
    for clear in (b"v1/door/", b"/masks/", b'"session"', b'"label":"bar"'):
        assert clear not in tap.recorded, clear


def test_a_wire_tap_without_keys_shows_plain_text(tmp_path):
    """What the test above looks for is there without encryption."""
    with contextlib.closing(PublisherProcess(tmp_path, endpoints=("tcp://127.0.0.1:*",))) as plain:
        host, port = plain.ready.text.removeprefix("tcp://").split(":")
        with Tap((host, int(port))) as tap, child(collect, f"tcp://127.0.0.1:{tap.port}", ("masks",)) as (_, got):
            plain.report("subscribed")
            plain.track()
            assert got.poll(20)
    for clear in (b"v1/cam1/", b"/masks/", b'"session"', b'"label":"bar"'):
        assert clear in tap.recorded, clear


def test_without_a_key_of_its_own_it_does_not_start(tmp_path):
    sockets = PublisherSockets(f"ipc://{tmp_path}/commands")
    try:
        with pytest.raises(ConfigError, match="streamseg keys authorize NAME --keys"):
            sockets.bind(
                f"ipc://{tmp_path}/in", PublishConfig(endpoints=("tcp://0.0.0.0:*",)), None, KeyFolder(tmp_path / "no")
            )
    finally:
        sockets.close()


class Tap:
    """A TCP proxy that records the bytes of both directions."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.recorded = b""
        self._target = target
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                daemon = socket.create_connection(self._target)
                self._open += [client, daemon]
                for source, sink in ((client, daemon), (daemon, client)):
                    threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.recorded += data
                sink.sendall(data)

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._server, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
