"""Fetch a checkpoint: resumable, checked, and in place only when it is whole."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from streamseg.common.redact import redact
from streamseg.errors import ModelError
from streamseg.models.registry import Checkpoint, ModelEntry, find, models_directory

_CHUNK: Final = 1 << 18
_SPARE_BYTES: Final = 64 << 20
"""Room that is left free on the disk."""

_WORTHWHILE: Final = 1 << 20
"""A try that brought at least this much was not in vain: large files come through bad lines, yet tries are bounded."""

_MAX_PAUSE_S: Final = 10.0
_TRY_AGAIN: Final = frozenset({408, 425, 429})

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes of the whole file."""


class _CutError(Exception):
    """The transfer failed in a way that another try may mend."""


def pull(
    model: str | ModelEntry,
    directory: Path | None = None,
    *,
    base_url: str | None = None,
    progress: Progress | None = None,
    timeout_s: float = 30.0,
    attempts: int = 5,
    pause_s: float = 1.0,
) -> Path:
    """Fetch a model's checkpoint unless it is there already.

    What arrives is kept in ``FILE.part`` beside the target, also when this is interrupted, and the next call goes on
    from there. It gets its name only after size and digest were found right and it is safe on the disk. A file of
    that name with other content is replaced.

    Blocks: until the file is there; a server that is silent for ``timeout_s`` counts as a failed try.

    Args:
        model: Name or entry of the model.
        directory: Where to; default: :func:`~streamseg.models.registry.models_directory`. Made if missing.
        base_url: ``http`` or ``https`` address of a mirror, in place of the publisher's, that offers the file under
            its own name.
        progress: Called about four times a megabyte.
        timeout_s: Longest wait for a connection and for each piece of the answer.
        attempts: Tries in a row that may bring less than 1 MiB before this gives up.
        pause_s: Before the second try; doubles with each further one, to 10 s.

    Returns:
        The file.

    Raises:
        ModelError: the model is unknown or has no checkpoint, nothing can be fetched, what came is wrong, the disk is
            full, or another process is fetching this file.
    """
    entry = find(model) if isinstance(model, str) else model
    checkpoint = entry.checkpoint
    if checkpoint is None:
        raise ModelError(f"model {entry.name!r} has no checkpoint to fetch: it needs none")
    url = checkpoint.url if base_url is None else f"{base_url.rstrip('/')}/{checkpoint.file_name}"
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname or address.username is not None:
        raise ModelError(f"{redact(url)} cannot be fetched from: give an http:// or https:// address without a login")
    directory = (directory or models_directory()).expanduser().absolute()
    target = directory / checkpoint.file_name
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if _is_right(target, checkpoint):
            return target
        with _locked_part(target) as part:
            if part is not None:
                transfer = _Transfer(checkpoint, url, part, progress or (lambda done, total: None), timeout_s)
                transfer.run(attempts, pause_s)
                Path(part.name).replace(target)
                _sync_directory(directory)
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


class _Transfer:
    """Fills one part file.

    Args:
        checkpoint: What is fetched.
        url: From where.
        part: The part file, locked by us, open for reading and writing.
        progress: Told how far it got.
        timeout_s: Longest wait for the server.
    """

    def __init__(self, checkpoint: Checkpoint, url: str, part: IO[bytes], progress: Progress, timeout_s: float) -> None:
        self._checkpoint = checkpoint
        self._url = url
        self._part = part
        self._progress = progress
        self._timeout_s = timeout_s
        self._etag: str | None = None

    def run(self, attempts: int, pause_s: float) -> None:
        """Fetch until the part file is whole and right.

        A file that was pieced together from several answers and has a wrong digest is fetched once more from its
        beginning: the file at the server may have changed in between.
        """
        resumed = self._have() > 0
        self._fetch_all(attempts, pause_s)
        if resumed and not self._digest_is_right():
            self._part.truncate(0)
            self._fetch_all(attempts, pause_s)
        if not self._digest_is_right():
            Path(self._part.name).unlink()
            raise ModelError(
                f"{self._url} is not {self._checkpoint.file_name}: its sha256 is not {self._checkpoint.sha256}. "
                "What came was deleted; try again, or fetch the file from another place"
            )
        self._part.flush()
        os.fsync(self._part.fileno())

    def _have(self) -> int:
        return os.fstat(self._part.fileno()).st_size

    def _fetch_all(self, attempts: int, pause_s: float) -> None:
        whole = self._checkpoint.nbytes
        if self._have() > whole:
            self._part.truncate(0)
        failed = 0
        while (before := self._have()) < whole:
            self._check_room(whole - before)
            try:
                self._fetch_some()
            except _CutError as error:
                failed = 0 if self._have() - before >= _WORTHWHILE else failed + 1
                if failed >= attempts:
                    raise ModelError(self._gave_up(error)) from error
                time.sleep(min(pause_s * 2 ** max(failed - 1, 0), _MAX_PAUSE_S))

    def _check_room(self, missing: int) -> None:
        free = shutil.disk_usage(Path(self._part.name).parent).free
        if free < missing + _SPARE_BYTES:
            raise ModelError(
                f"{Path(self._part.name).parent} has {free >> 20} MiB free, {(missing + _SPARE_BYTES) >> 20} MiB are "
                "needed: make room, or set STREAMSEG_MODELS to another directory"
            )

    def _gave_up(self, error: _CutError) -> str:
        have, whole = self._have(), self._checkpoint.nbytes
        kept = f" {have >> 20} of {whole >> 20} MiB are here and are kept for the next try." if have else ""
        return (
            f"{self._url} cannot be fetched: {error}.{kept} Without network, fetch it elsewhere and lay it at "
            f"{Path(self._part.name).with_suffix('')} (sha256 {self._checkpoint.sha256})"
        )

    def _fetch_some(self) -> None:
        """One request: append to the part file what the server gives.

        Raises:
            _CutError: it ended early.
            ModelError: no further try would help.
        """
        have = self._have()
        request = urllib.request.Request(self._url, headers={"Accept-Encoding": "identity", "User-Agent": "streamseg"})
        if have:
            request.add_header("Range", f"bytes={have}-")
            if self._etag is not None:
                request.add_header("If-Range", self._etag)
        try:
            response = urllib.request.urlopen(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refusal(error.code, have) from error
        except urllib.error.URLError as error:
            raise _CutError(f"no connection ({_reason(error.reason)})") from error
        except (http.client.HTTPException, OSError) as error:
            raise _CutError(f"no answer ({_reason(error)})") from error
        with response:
            self._begin(response, have)
            while piece := _read(response):
                self._append(piece)
        if self._have() < self._checkpoint.nbytes:
            raise _CutError("the server ended the transfer early")

    def _begin(self, response: http.client.HTTPResponse, have: int) -> None:
        """Check what the answer announces, and place the file's end where it begins."""
        start, total = 0, response.getheader("Content-Length")
        if response.status == 206:
            given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.getheader("Content-Range", ""))
            if given is None or int(given[1]) != have:
                self._part.truncate(0)
                raise _CutError("the server sent another part than it was asked for")
            start, total = have, given[2] if given[2] != "*" else None
        if total is not None and int(total) != self._checkpoint.nbytes:
            raise ModelError(
                f"{self._url} has {total} bytes in place of {self._checkpoint.nbytes}: it is another file, or a page "
                "of a proxy or login. Check the address and the network"
            )
        etag = response.getheader("ETag")
        self._etag = None if etag is None or etag.startswith("W/") else etag
        self._part.truncate(start)
        self._part.seek(start)

    def _append(self, piece: bytes) -> None:
        if self._have() + len(piece) > self._checkpoint.nbytes:
            self._part.truncate(0)
            raise ModelError(
                f"{self._url} has more than {self._checkpoint.nbytes} bytes: it is another file. Check the address"
            )
        self._part.write(piece)
        self._part.flush()
        self._progress(self._have(), self._checkpoint.nbytes)

    def _refusal(self, status: int, have: int) -> _CutError | ModelError:
        if status == 416 and have:
            self._part.truncate(0)
            return _CutError("the server has nothing after what is here")
        if status >= 500 or status in _TRY_AGAIN:
            return _CutError(f"the server answered {status}")
        return ModelError(
            f"{self._url} cannot be fetched: the server answered {status}. Check the address, or lay the file at "
            f"{Path(self._part.name).with_suffix('')} yourself (sha256 {self._checkpoint.sha256})"
        )

    def _digest_is_right(self) -> bool:
        return _digest(self._part) == self._checkpoint.sha256


@contextlib.contextmanager
def _locked_part(target: Path) -> Iterator[IO[bytes] | None]:
    """Open and lock the part file; None if somebody else finished the target meanwhile.

    Whoever held the lock before may have renamed or deleted the file that we opened, so after locking it must still be
    the one of that name; writing on would damage a finished checkpoint.
    """
    path = Path(f"{target}.part")
    with contextlib.ExitStack() as stack:
        while True:
            part = stack.enter_context(path.open("a+b"))
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ModelError(f"{path} is being fetched by another process: wait for it") from None
            if _is_at(part, path):
                try:
                    yield part
                finally:
                    if _is_at(part, path) and path.stat().st_size == 0:
                        path.unlink()
                return
            if target.exists():
                yield None
                return


def _is_at(file: IO[bytes], path: Path) -> bool:
    return path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _is_right(path: Path, checkpoint: Checkpoint) -> bool:
    if not path.is_file() or path.stat().st_size != checkpoint.nbytes:
        return False
    with path.open("rb") as file:
        return _digest(file) == checkpoint.sha256


def _digest(file: IO[bytes]) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def _read(response: http.client.HTTPResponse) -> bytes:
    """Whatever is there next: waiting for a full chunk would hide a slow server's progress."""
    try:
        return response.read1(_CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise _CutError(f"the transfer broke off ({_reason(error)})") from error


def _reason(error: object) -> str:
    """Short text of a network error, for people."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
