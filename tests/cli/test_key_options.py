"""Messages about keys name `--key` and `--server-key`, as the command line calls them."""

import pytest

from streamseg.cli.key_options import key_options
from tests.cli.executable import CommandLine
from tests.publish.publisher_children import PublisherProcess


@pytest.fixture
def run(tmp_path):
    return CommandLine(tmp_path, {})


def test_a_wrong_key_is_named_as_the_option_that_it_is(run, keys):
    missing = run("status", "--key", "key_file")
    assert missing.stderr.startswith("error: --key: 'key_file' cannot be read: ")
    alone = run("subscribe", "--server-key", keys.server)
    assert alone.stderr == "error: --server-key needs --key, too: the daemon has to know who you are\n"
    keys.make("robot").write_text("curve\n")
    other = run("record", "out", "--key", keys.path / "robot.key_secret")
    assert "does not have the daemon's public key: give --server-key (" in other.stderr


def test_a_daemon_that_asks_for_a_key_is_given_the_option(run, keys):
    publisher = PublisherProcess(keys.path, keys=keys.folder.path, endpoints=("tcp://127.0.0.1:*",), require_key=True)
    try:
        # After three seconds, a warning says the same as the error.
        done = run.apart("subscribe", publisher.ready.text, "--timeout", 5)
    finally:
        publisher.close()
    warning, error = done.stderr.splitlines()
    for line in (warning, error):
        assert "asks for a key: give --key (`streamseg keys authorize`" in line
    assert error.startswith("error: ")


def test_paths_keep_their_names():
    for text in ("no file '/a/key_file'", "no file 'key_file'", "tls_key_file is", "server_keys", "key_file.txt"):
        assert key_options(text) == text
