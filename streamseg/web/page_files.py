"""The files of the page, in memory.

A browser requests about fifty small files at once. Starlette's ``StaticFiles`` opens and compresses each one on a
thread for every request, which took a second on a busy machine; here they are read and compressed when they change.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import mimetypes
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_MEDIA_TYPES: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


class _File:
    """A file as it is sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Take the mark before reading: if the file is written meanwhile, the mark differs and it is read again.
        modified_ns = path.stat().st_mtime_ns
        self.content = path.read_bytes()
        self.mark = (modified_ns, len(self.content))
        self.packed = gzip.compress(self.content)
        self.etag = f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'
        self.media_type = _MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]


class PageFiles:
    """Serves the files of one folder. Browsers cache them, but revalidate each time (ETag).

    Args:
        folder: Folder of the page's files.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {path.name: _File(path) for path in folder.iterdir() if path.is_file()}

    async def respond(self, request: Request) -> Response:
        """Return the file that the path of the request names."""
        return self.response(request, request.path_params["name"])

    def response(self, request: Request, name: str) -> Response:
        """Return a file.

        Raises:
            HTTPException: There is none of that name.
        """
        if name not in self._files:
            raise HTTPException(404)
        file = self._current(name)
        headers = {"ETag": file.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(file.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.media_type)
        return Response(file.content, headers=headers, media_type=file.media_type)

    def _current(self, name: str) -> _File:
        """Return a file, read again if it has changed since.

        A file that has been removed, for example by an upgrade while the daemon runs, is still served.
        """
        file = self._files[name]
        with contextlib.suppress(OSError):
            status = file.path.stat()
            if (status.st_mtime_ns, status.st_size) != file.mark:
                self._files[name] = _File(file.path)
        return self._files[name]
