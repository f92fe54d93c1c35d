"""Tokens with names and roles, wrong ones, and TLS, in a real daemon."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import http.client
import json
import logging
import re
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from streamseg.config.schema import HttpConfig
from streamseg.errors import ConfigError
from streamseg.security.cookie import cookie_of
from streamseg.web.api_error import ApiError
from streamseg.web.guard import Guard
from streamseg.web.tls import Certificate
from streamseg.web.tokens import COOKIE, Tokens
from tests.e2e.daemon_process import DaemonProcess, wait_for
from tests.key_files import PAST, Keys
from tests.web.asgi import ask

OWN = "0123456789abcdef"


def bearer(token: str) -> Headers:
    return Headers({"authorization": f"Bearer {token}"})


async def inside(scope, receive, send):
    await PlainTextResponse("inside")(scope, receive, send)


def test_tokens_have_names_and_roles(keys: Keys) -> None:
    watcher = keys.folder.make_token("alice", "watch")
    admin = keys.folder.make_token("bob", "control")
    tokens = Tokens(OWN, keys.folder.watched("token"))
    assert tokens.check(bearer(watcher), "1.2.3.4").name == "alice"
    assert tokens.check(bearer(admin), "1.2.3.4").role == "control"
    assert tokens.check(bearer(OWN), "1.2.3.4").role == "control"
    assert tokens.check(Headers({"cookie": f"{COOKIE}={cookie_of(watcher)}"}), "1.2.3.4").role == "watch"
    stored = (keys.folder.folder("token") / "alice.token").read_text()
    assert watcher not in stored
    assert cookie_of(watcher) not in stored
    with pytest.raises(ConfigError, match="has a token: run `streamseg keys revoke alice` first"):
        keys.folder.make_token("alice", "control")


def test_an_expired_token_is_wrong(keys: Keys) -> None:
    token = keys.folder.make_token("late", "watch", PAST)
    with pytest.raises(ApiError, match="missing or wrong"):
        Tokens(None, keys.folder.watched("token")).check(bearer(token), "1.2.3.4")


def test_a_watcher_may_only_read(keys: Keys) -> None:
    token = keys.folder.make_token("alice", "watch")
    app = Guard(inside, tokens=Tokens(None, keys.folder.watched("token")), hosts=())
    headers = [("host", "127.0.0.1"), ("authorization", f"Bearer {token}")]
    assert ask(app, headers=headers).status == 200
    assert ask(app, headers=headers, method="HEAD").status == 200
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        refused = ask(app, headers=headers, method=method)
        assert refused.status == 403
        assert refused.json["error"]["code"] == "FORBIDDEN"
        assert "'alice' may only watch" in refused.json["error"]["message"]


def test_wrong_tokens_are_slowed_down_and_logged(keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    stored = keys.folder.make_token("alice", "watch")
    tokens = Tokens(OWN, keys.folder.watched("token"))
    with caplog.at_level(logging.WARNING):
        for number in range(30):
            with pytest.raises(ApiError) as refused:
                tokens.check(bearer(f"wrong {number}"), "192.0.2.1")
    assert refused.value.status == 429
    assert refused.value.headers == {"Retry-After": "6"}
    lines = [record.getMessage() for record in caplog.records]
    assert 10 <= len(lines) < 20  # one more for each six seconds that the loop takes
    assert set(lines) == {"a wrong token from 192.0.2.1"}
    for right in (OWN, stored):  # never used from there before
        assert tokens.check(bearer(right), "192.0.2.1")
        assert tokens.find(cookie_of(right), "192.0.2.1")


def test_an_old_cookie_that_comes_again_and_again_counts_once() -> None:
    tokens = Tokens(OWN)
    for _ in range(30):
        with pytest.raises(ApiError) as refused:
            tokens.check(bearer("revoked"), "192.0.2.1")
        assert refused.value.status == 401
    assert tokens.find("another wrong one", "192.0.2.1") is None


def test_a_token_for_some_streams_is_refused(keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    token = keys.folder.make_token("alice", "watch")
    file = keys.folder.folder("token") / "alice.token"
    file.write_text(file.read_text().replace('"*"', '"door"'))
    with pytest.raises(ApiError, match="missing or wrong"):
        Tokens(None, keys.folder.watched("token")).check(bearer(token), "1.2.3.4")
    assert "a token is for all streams" in caplog.text


def test_an_open_page_asks_for_a_token_once_there_is_one(keys: Keys) -> None:
    stored = keys.folder.watched("token")
    tokens = Tokens(None, stored, required=False)
    app = Guard(inside, tokens=tokens, hosts=())
    assert ask(app).status == 200
    token = keys.folder.make_token("alice", "watch")
    wait_for(lambda: tokens.refresh() or tokens.required, 5, "the token")
    assert ask(app).status == 401
    assert ask(app, headers=[("host", "127.0.0.1"), ("authorization", f"Bearer {token}")]).status == 200
    keys.folder.revoke("alice")
    wait_for(lambda: tokens.refresh() or not len(stored), 5, "the revocation")
    assert ask(app).status == 401
    assert Tokens(None, keys.folder.watched("token"), required=False).required is False


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_what_is_open_ends_with_its_token(keys: Keys, kind: str) -> None:
    token, other = keys.folder.make_token("alice", "watch"), keys.folder.make_token("bob", "watch")
    tokens = Tokens(OWN, keys.folder.watched("token"))
    endless = asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"} if kind == "websocket" else {"type": "http.response.start"})
        await endless.wait()

    async def request(cookie: str, sent: list[dict[str, Any]]) -> None:
        headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {cookie}".encode())]
        scope = {"type": kind, "path": "/", "headers": headers, "method": "GET", "client": ("127.0.0.1", 1)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await Guard(app, tokens=tokens, hosts=())(scope, endless.wait, send)

    async def run() -> None:
        sent: list[dict[str, Any]] = []
        ended = asyncio.create_task(request(token, sent))
        others = [asyncio.create_task(request(each, [])) for each in (other, OWN)]
        while not sent:
            await asyncio.sleep(0)
        keys.folder.revoke("alice")
        while not ended.done():
            tokens.refresh()
            await asyncio.sleep(0.02)
        assert not any(task.done() for task in others)
        endless.set()
        await asyncio.gather(*others)
        if kind == "websocket":
            await ended
            assert sent[-1] == {"type": "websocket.close", "code": 1008, "reason": "UNAUTHORIZED"}
        else:
            with pytest.raises(ApiError, match="missing or wrong"):
                await ended

    asyncio.run(asyncio.wait_for(run(), 20))


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", key, "-out", certificate, "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return certificate, key


def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "first")
    other, other_key = make_certificate(tmp_path, "second")
    used = Certificate(HttpConfig(tls_certificate=str(certificate), tls_key=str(key)))
    assert served(used) == "first"
    certificate.write_text("nonsense")
    used.refresh()
    assert served(used) == "first"
    shutil.copy(other, certificate)
    shutil.copy(other_key, key)
    used.refresh()
    assert served(used) == "second"
    with pytest.raises(ConfigError, match=r"http.tls_certificate, http.tls_key: "):
        Certificate(HttpConfig(tls_certificate=str(tmp_path / "no"), tls_key=str(key)))


def served(used: Certificate) -> str:
    """Return the name in the certificate that a client is shown."""
    server_in, server_out, client_in, client_out = (ssl.MemoryBIO() for _ in range(4))
    assert used.context is not None
    server = used.context.wrap_bio(server_in, server_out, server_side=True)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = context.wrap_bio(client_in, client_out)
    for _ in range(3):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
            server_in.write(client_out.read())
            client_in.write(server_out.read())
    der = client.getpeercert(binary_form=True)
    assert der is not None
    return "first" if b"first" in der else "second" if b"second" in der else "none"


def test_a_daemon_with_tls_and_a_watcher(keys: Keys, tmp_path: Path) -> None:
    """A watcher reads, sees no controls, and changes nothing; over https."""
    certificate, key = make_certificate(tmp_path, "daemon")
    token = keys.folder.make_token("alice", "watch")
    config = {
        "model": {"name": "colour"},
        "streams": {"cam": {"source": "scene:simple?size=320x180&fps=5"}},
        "http": {"listen": "127.0.0.1:0", "require_token": True},
        "security": {"keys": str(keys.folder.path)},
    }
    config["http"] |= {"tls_certificate": str(certificate), "tls_key": str(key)}
    with contextlib.closing(DaemonProcess(config, tmp_path)) as daemon:
        daemon.wait_log(r"the page is at https://\S+")
        url = re.search(r"the page is at (https://[^/\s]+)", daemon.log)
        assert url is not None
        context = ssl.create_default_context(cafile=str(certificate))

        def request(path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
            asked = urllib.request.Request(url[1] + path, method=method, headers=headers)
            try:
                with urllib.request.urlopen(asked, timeout=30, context=context) as response:
                    return response.status, response.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()

        assert request("/v1/streams")[0] == 401
        alice = {"Authorization": f"Bearer {token}"}
        assert request("/v1/streams", **alice)[0] == 200
        page = request("/", **alice)[1].decode()
        assert "watch.css" in page
        assert "your token has the role watch" in page
        status, body = request("/v1/streams/cam/reset", "POST", **alice)
        assert (status, json.loads(body)["error"]["code"]) == (403, "FORBIDDEN")

        live = connect(f"wss{url[1][5:]}/v1/live", ssl=context, additional_headers=alice)
        asked = urllib.request.Request(f"{url[1]}/v1/streams/cam/stream.mjpg", headers=alice)
        with live, urllib.request.urlopen(asked, timeout=30, context=context) as pictures:
            assert live.recv(timeout=20)
            assert pictures.read(100)
            assert keys.folder.revoke("alice")
            with pytest.raises(ConnectionClosedError, match="UNAUTHORIZED"):
                collections.deque(iter(lambda: live.recv(timeout=20), None), maxlen=0)
            with contextlib.suppress(http.client.IncompleteRead):
                while pictures.read(100_000):
                    pass
