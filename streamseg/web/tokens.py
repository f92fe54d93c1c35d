"""Access to the page and the HTTP API: tokens with names and roles, and a limit on wrong ones.

The limit is ours because rate limiters for ASGI count requests, not wrong tokens.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from streamseg.security.authorized_keys import AuthorizedKeys, Role, digest_of_cookie
from streamseg.security.cookie import cookie_of
from streamseg.web.api_error import ApiError

log = logging.getLogger(__name__)

COOKIE: Final = "streamseg"
_BURST: Final = 10
_SECONDS_EACH: Final = 6.0
"""After ten wrong tokens in a row, an address may try one every six seconds."""
_MAX_ADDRESSES: Final = 1000
_MAX_WRONG: Final = 1000


@dataclass(frozen=True, slots=True)
class Visitor:
    """The sender of a request.

    Attributes:
        name: Name of the token.
        role: Its role, which decides what it may do.
        digest: Digest of the cookie.
    """

    name: str
    role: Role
    digest: str = field(default="", repr=False)


class Tokens:
    """The accepted tokens. Used by one event loop.

    Args:
        token: ``http.token``, which has the role ``control``; None if there is none.
        stored: Tokens made by ``streamseg keys token``; None if there are none.
        required: Whether requests need a token even while none is stored.

    Attributes:
        required: Whether requests need a token. Becomes true with the first stored token and stays true, so that
            revoking the last token does not open the page to everyone.
    """

    def __init__(self, token: str | None, stored: AuthorizedKeys | None = None, *, required: bool = True) -> None:
        self.required = required
        self._own = None if token is None else digest_of_cookie(cookie_of(token))
        self._stored = stored
        self._attempts = _Attempts()
        self._open: dict[Callable[[], None], Visitor | None] = {}
        self._require_if_stored()

    def refresh(self) -> None:
        """Read the stored tokens again, and end connections whose token is no longer valid."""
        if self._stored is None:
            return
        self._stored.refresh()
        self._require_if_stored()
        for end, visitor in list(self._open.items()):
            if not self._is_current(visitor):
                end()

    @contextlib.contextmanager
    def opened(self, visitor: Visitor | None, end: Callable[[], None]) -> Iterator[None]:
        """Call ``end`` if the token of a visitor is revoked, expires or changes during the block.

        Args:
            visitor: Who sent the request; None if no token was required.
            end: May be called more than once.
        """
        self._open[end] = visitor
        try:
            yield
        finally:
            del self._open[end]

    def check(self, headers: Headers, address: str) -> Visitor:
        """Return who sent a request.

        Args:
            headers: Headers of the request: a bearer token, or the cookie that :func:`streamseg.web.login.log_in`
                sets.
            address: Address of the sender.

        Raises:
            ApiError: there is no token, it is wrong, or there were too many wrong ones.
        """
        scheme, _, given = headers.get("authorization", "").partition(" ")
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if scheme.lower() == "bearer":
            cookie = cookie_of(given.strip())
        if not cookie:
            raise unauthorized()
        visitor = self.find(cookie, address)
        if visitor is None:
            raise unauthorized()
        return visitor

    def find(self, cookie: str, address: str) -> Visitor | None:
        """Return whose cookie it is; None if it is wrong.

        Raises:
            ApiError: there were too many wrong ones.
        """
        digest = digest_of_cookie(cookie)
        if self._own is not None and hmac.compare_digest(digest, self._own):
            return Visitor("http.token", "control", digest)
        if self._stored is not None and (found := self._stored.find(digest)) is not None:
            return Visitor(found.name, found.role, digest)
        self._attempts.failed(address, digest)
        return None

    def _is_current(self, visitor: Visitor | None) -> bool:
        if visitor is None:
            return not self.required
        if visitor.digest == self._own:
            return True
        found = self._stored.find(visitor.digest) if self._stored is not None else None
        return found is not None and found.role == visitor.role

    def _require_if_stored(self) -> None:
        if not self.required and self._stored is not None and len(self._stored):
            self.required = True
            log.info("http asks for a token from now on, since `streamseg keys token` made one")


class _Attempts:
    """A token bucket of wrong tokens for each address; of an IPv6 network, for all its addresses.

    It only changes the response to wrong tokens. Correct ones are never refused, since many people may share the
    address of a proxy; tokens are too long to be guessed even without a limit. A repeated wrong token counts once, so
    that a page left open with an old cookie does not use up the attempts of its address.
    """

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._wrong: OrderedDict[tuple[str, str], None] = OrderedDict()

    def failed(self, address: str, digest: str) -> None:
        """Note a wrong token.

        Raises:
            ApiError: there were too many others from this address.
        """
        network = _network(address)
        if (network, digest) in self._wrong:
            self._wrong.move_to_end((network, digest))
            return
        left = self._remaining(network)
        if left < 1:
            raise _too_many(address)
        self._wrong[network, digest] = None
        if len(self._wrong) > _MAX_WRONG:
            self._wrong.popitem(last=False)
        self._left[network] = (left - 1, time.monotonic())
        self._left.move_to_end(network)
        if len(self._left) > _MAX_ADDRESSES:
            self._left.popitem(last=False)
        log.warning("a wrong token from %s", address)  # at most ten at once, then one every six seconds

    def _remaining(self, network: str) -> float:
        left, at = self._left.get(network, (float(_BURST), 0.0))
        return min(_BURST, left + (time.monotonic() - at) / _SECONDS_EACH)


def _network(address: str) -> str:
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    return ip.exploded[:19] if isinstance(ip, IPv6Address) else address


def _too_many(address: str) -> ApiError:
    return ApiError(
        429,
        "TOO_MANY_ATTEMPTS",
        f"this token is wrong, and there were too many wrong ones from {address}: wait a few seconds",
        retryable=True,
        headers={"Retry-After": f"{_SECONDS_EACH:.0f}"},
    )


def unauthorized() -> ApiError:
    """Return the response to a request without a valid token."""
    return ApiError(
        401,
        "UNAUTHORIZED",
        "the token is missing or wrong: log in at /login, or send Authorization: Bearer TOKEN",
        headers={"WWW-Authenticate": "Bearer"},
    )
