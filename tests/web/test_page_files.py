"""The files of the page, in memory."""

from __future__ import annotations

import gzip
import os

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from streamseg.web.page_files import PageFiles


def request(**headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": pairs})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "main.js").write_text("// ä\n" * 100)
    return tmp_path


def test_a_file_comes_plain_packed_or_not_at_all(folder):
    files = PageFiles(folder)
    plain = files.response(request(), "main.js")
    assert plain.headers["content-type"] == "text/javascript; charset=utf-8"
    packed = files.response(request(accept_encoding="br, gzip"), "main.js")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body)
    same = files.response(request(if_none_match=plain.headers["etag"]), "main.js")
    assert (same.status_code, same.body) == (304, b"")
    assert {each.headers["cache-control"] for each in (plain, packed, same)} == {"no-cache"}


def test_an_edited_file_is_sent_as_it_is_now(folder):
    files = PageFiles(folder)
    before = files.response(request(), "main.js").headers["etag"]
    (folder / "main.js").write_text("// new\n")
    os.utime(folder / "main.js", ns=(1, 1))
    after = files.response(request(if_none_match=before), "main.js")
    assert (after.status_code, after.body) == (200, b"// new\n")


def test_a_file_that_is_removed_is_sent_as_it_was(folder):
    files = PageFiles(folder)
    before = files.response(request(), "main.js").body
    (folder / "main.js").unlink()
    assert files.response(request(), "main.js").body == before


def test_a_file_that_was_read_half_written_is_read_again(folder):
    status = (folder / "main.js").stat()
    (folder / "main.js").write_text("// half")
    os.utime(folder / "main.js", ns=(status.st_atime_ns, status.st_mtime_ns))
    files = PageFiles(folder)
    (folder / "main.js").write_text("// half, and the rest")
    os.utime(folder / "main.js", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert files.response(request(), "main.js").body == b"// half, and the rest"


@pytest.mark.parametrize("name", ["other.js", "../main.js", ""])
def test_other_names_are_not_found(folder, name):
    with pytest.raises(HTTPException):
        PageFiles(folder).response(request(), name)
