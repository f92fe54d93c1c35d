import os
import time
from pathlib import Path

import pytest

from streamseg.config.load import load_config
from streamseg.config.yaml import MAX_BYTES, Document, read_document
from streamseg.errors import ConfigError


def refused(text):
    with pytest.raises(ConfigError) as caught:
        Document("c.yaml", text)
    return str(caught.value)


def test_values_have_lines():
    document = Document("c.yaml", "a:\n  b: [1,\n    2]\nc: text\n")
    assert document.tree == {"a": {"b": [1, 2]}, "c": "text"}
    assert document.line(("a", "b")) == 2
    assert document.line(("a", "b", 1)) == 3
    assert document.line(("a", "missing")) == 1
    assert document.line(("c",)) == 4


def test_anchors_and_merges():
    document = Document("c.yaml", "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\n")
    assert document.tree["y"] == {"a": 1, "b": 3}


def test_a_duplicate_key_is_refused_with_both_lines():
    assert refused("a: 1\nb: 2\na: 3\n") == "c.yaml:3: duplicate key 'a', first on line 1: remove one of them"
    assert "duplicate key 'k'" in refused("list:\n  - k: 1\n    k: 2\n")


def test_a_tag_makes_no_object():
    assert "could not determine a constructor" in refused("a: !!python/object/apply:os.getcwd []\n")


@pytest.mark.parametrize("text", ["a: [1, 2", "a: b: c", "\ta: 1", "a: *nowhere", "a: 'open", "a: 1\n---\nb: 2\n"])
def test_broken_yaml_names_the_line(text):
    message = refused(text)
    assert message.startswith("c.yaml:")
    assert "not valid YAML" in message


@pytest.mark.parametrize("value", ["2026-02-30", "9" * 5000, "!!int x", "!!float x", "!!timestamp x", "!!binary x="])
def test_values_that_python_cannot_hold_are_errors_with_their_line(value):
    assert refused(f"a: 1\nx-since: {value}\n").startswith("c.yaml:2: not valid YAML: ")
    assert refused(f"a: 1\n? {value}\n: 1\n").startswith("c.yaml:2: not valid YAML: ")


def test_control_characters_are_refused():
    assert "not valid YAML" in refused("a: \x01")


def test_a_few_anchors_cannot_grow_into_billions():
    text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    assert "more than 20000 values" in refused(text)


def test_a_recursive_anchor_is_refused():
    assert "nested too deeply" in refused("a: &a\n  b: *a\n")


def test_deep_nesting_is_refused():
    assert "nested too deeply" in refused("[" * 100_000)
    assert "nested too deeply" in refused("a: " + "[" * 30 + "]" * 30)


@pytest.mark.parametrize("text", ["{" * 20_000, "[" * 20_000 + "]" * 20_000, "- " * 3_000 + "a", "? " * 3_000])
def test_deep_nesting_is_refused_before_all_of_it_is_read(text):
    """PyYAML's time grows with the square of the depth, and a reload runs in the process that watches all others."""
    before = time.process_time()
    assert "nested too deeply" in refused(text)
    assert time.process_time() - before < 20  # of this process, however busy the machine is; it was minutes


@pytest.mark.parametrize("bracket", ["[", "{", "[a, ", "{a: "])
def test_deep_nesting_is_refused_with_its_line_while_it_is_scanned(bracket):
    before = time.process_time()
    assert "c.yaml:2: nested too deeply" in refused("a: 1\nx-k: " + bracket * 3_000)
    assert time.process_time() - before < 20  # takes a millisecond


def test_endless_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="larger than 1024 KiB"):
        read_document(Path("/dev/zero"))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(ConfigError, match="its end did not come within 2 s"):  # without a writer
        read_document(fifo)
    writer = os.open(fifo, os.O_RDWR)
    with pytest.raises(ConfigError, match="its end did not come within 2 s"):
        read_document(fifo)
    os.close(writer)


def test_a_pipe_is_read_to_its_end():
    reader, writer = os.pipe()
    os.write(writer, b"streams: {}\n")
    os.close(writer)
    assert read_document(Path(f"/dev/fd/{reader}")).tree == {"streams": {}}
    os.close(reader)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_document(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        read_document(tmp_path)
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="is larger than 1024 KiB"):
        read_document(tmp_path / "large.yaml")
    (tmp_path / "latin1.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_document(tmp_path / "latin1.yaml")


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "text", "x-only: 1\n"])
def test_a_file_without_settings_shows_how_to_begin(text, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match="has no settings: start with"):
        load_config(tmp_path / "c.yaml")


def test_only_true_and_false_are_booleans():
    tree = Document("a.yaml", "{a: on, b: off, c: yes, d: no, e: true, f: False}").tree
    assert tree == {"a": "on", "b": "off", "c": "yes", "d": "no", "e": True, "f": False}


@pytest.mark.parametrize("number", ["7" * 4400, "-" + "1" * 9000, "1_0" * 3000])
def test_a_number_that_is_too_long_is_refused_in_our_words(number):
    with pytest.raises(ConfigError) as refused:
        Document("c.yaml", f"x-note: 1\nx-number: {number}\n")
    assert "c.yaml:2" in str(refused.value)
    assert "digits is too long" in str(refused.value)
    assert "sys." not in str(refused.value)
