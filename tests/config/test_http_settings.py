"""The page's settings: it is never exposed by accident, and a token is not shown."""

import re

import pytest

from streamseg.config.load import config_from_mapping
from streamseg.errors import ConfigError
from streamseg.security.key_folder import KeyFolder

TOKEN = "0123456789abcdef"


def check(**http):
    return config_from_mapping({"streams": {"cam": {"source": "scene:simple"}}, "http": http}).http


def test_there_is_no_page_unless_asked_for():
    assert check().listen is None


@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "localhost:0", "[::1]:8080", "127.3.2.1:1"])
def test_this_machine_needs_no_token(listen):
    assert check(listen=listen).listen == listen


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:8080", "192.0.2.7:80"])
def test_other_addresses_need_a_token(listen):
    words = r"anyone there could watch and click: .*set http\.token, or run .streamseg keys token NAME"
    with pytest.raises(ConfigError, match=rf"http\.listen: .*{words}"):
        check(listen=listen)
    assert check(listen=listen, token=TOKEN).token == TOKEN


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        ("8080", "has no port: write HOST:PORT"),
        (":8080", "has no port: write HOST:PORT"),
        ("127.0.0.1:http", "invalid port"),
        ("127.0.0.1:65536", "invalid port"),
        ("camera.example:80", "a host name cannot be bound"),
        ("*:80", "a host name cannot be bound"),
    ],
)
def test_invalid_addresses_are_refused(listen, words):
    with pytest.raises(ConfigError, match=words):
        check(listen=listen)


@pytest.mark.parametrize("token", ["short", "", "0123456789abcde", "with space and more", "ümlaut-and-more-of-it"])
def test_an_invalid_token_is_not_shown(token):
    with pytest.raises(ConfigError, match="too easy to guess") as refused:
        check(token=token)
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize("host", ["", "camera.example:80", "http://camera.example", "-x", "a/b"])
def test_invalid_host_names_are_refused(host):
    with pytest.raises(ConfigError, match="is not a host name"):
        check(hosts=[host])


def test_a_token_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("PAGE_TOKEN", TOKEN)
    assert check(listen="0.0.0.0:80", token="${PAGE_TOKEN}").token == TOKEN


def test_a_stored_token_is_enough(tmp_path):
    settings = {"streams": {}, "http": {"listen": "0.0.0.0:8080"}, "security": {"keys": str(tmp_path)}}
    with pytest.raises(ConfigError, match=f"streamseg keys token NAME --keys {tmp_path}"):
        config_from_mapping(settings)
    KeyFolder(tmp_path).make_token("alice", "watch")
    assert config_from_mapping(settings).http.listen == "0.0.0.0:8080"


@pytest.mark.parametrize(
    ("http", "words"),
    [
        ({"tls_key": "/x"}, "http.tls_certificate: is missing: tls_key is set"),
        ({"tls_certificate": "/no/such", "tls_key": "/no/such"}, "http.tls_certificate: there is no file '/no/such'"),
        ({"require_token": True}, "http.require_token: is true, but there is none: run `streamseg keys token NAME`"),
    ],
)
def test_invalid_tls_and_tokens_are_refused(http, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        check(**http)
