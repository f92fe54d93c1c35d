"""TLS of the HTTP server: certificate and key, and their renewal."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from streamseg.config.schema import HttpConfig
from streamseg.errors import ConfigError

log = logging.getLogger(__name__)


class Certificate:
    """A certificate and its key, read again when the files change.

    Args:
        http: Settings.

    Attributes:
        context: Context of the server; new connections use the newest certificate. None without TLS.

    Raises:
        ConfigError: a file cannot be read, or they do not belong together.
    """

    def __init__(self, http: HttpConfig) -> None:
        self.context: ssl.SSLContext | None = None
        if http.tls_certificate is None or http.tls_key is None:
            return
        self._files = (Path(http.tls_certificate), Path(http.tls_key))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._seen = self._marks()
        self._load(self.context)

    def refresh(self) -> None:
        """Read the files again if they have changed. Files that cannot be used are reported once."""
        if self.context is None or (marks := self._marks()) == self._seen:
            return
        self._seen = marks
        try:
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a mismatch would spoil the context in use
            self._load(self.context)
        except ConfigError as error:
            log.error("the old certificate stays in use: %s", error)
        else:
            log.info("a new certificate is in use")

    def _load(self, context: ssl.SSLContext) -> None:
        certificate, key = self._files
        try:
            context.load_cert_chain(certificate, key, password=lambda: "")  # never ask at the terminal
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ConfigError(f"http.tls_certificate, http.tls_key: {certificate} and {key}: {error}") from None

    def _marks(self) -> list[tuple[int, int]]:
        try:
            return [(found.st_mtime_ns, found.st_ino) for found in (file.stat() for file in self._files)]
        except OSError:
            return []
