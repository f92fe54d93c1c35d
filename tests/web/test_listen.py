import pytest

from streamseg.errors import ConfigError
from streamseg.web.listen import listen_on


def test_a_free_port_is_reported():
    bound, url = listen_on("127.0.0.1:0")
    with bound:
        assert url == f"http://127.0.0.1:{bound.getsockname()[1]}/"


def test_a_taken_port_is_reported_with_the_fix():
    bound, url = listen_on("127.0.0.1:0")
    with bound:
        bound.listen()
        with pytest.raises(ConfigError, match=r"http\.listen: '127.*another program listens there"):
            listen_on(url.removeprefix("http://").rstrip("/"))


def test_an_address_of_another_machine():
    with pytest.raises(ConfigError, match="no network interface of this machine"):
        listen_on("192.0.2.1:0")
