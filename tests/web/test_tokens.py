"""Tokens with names and roles, wrong ones, and TLS, in a real daemon."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from streamseg.config.schema import HttpConfig
from streamseg.errors import ConfigError
from streamseg.security.cookie import cookie_of
from streamseg.web.api_error import ApiError
from streamseg.web.guard import Guard
from streamseg.web.tls import Certificate
from streamseg.web.tokens import COOKIE, Tokens
from tests.e2e.daemon_process import DaemonProcess
from tests.security.conftest import PAST, Keys
from tests.web.asgi import ask

OWN = "0123456789abcdef"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


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


def test_wrong_tokens_are_slowed_down_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    tokens = Tokens(OWN)
    assert tokens.check(bearer(OWN), "192.0.2.1")
    with caplog.at_level(logging.WARNING):
        for _ in range(30):
            with pytest.raises(ApiError) as refused:
                tokens.check(bearer("wrong"), "192.0.2.1")
    assert refused.value.status == 429
    assert refused.value.headers == {"Retry-After": "6"}
    lines = [record.getMessage() for record in caplog.records]
    assert 10 <= len(lines) < 20  # one more for each six seconds that the loop takes
    assert set(lines) == {"a wrong token from 192.0.2.1"}
    assert tokens.check(bearer(OWN), "192.0.2.1")  # was right before
    assert tokens.check(bearer(OWN), "192.0.2.2")
    with pytest.raises(ApiError, match="too many"):  # right, but how would it know that this is no guess
        tokens.find(cookie_of("another-that-was-never-right"), "192.0.2.1")


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
