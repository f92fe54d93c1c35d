"""Who visits the page and the HTTP interface: tokens with names and roles, and a limit on wrong ones."""

from __future__ import annotations

import hmac
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
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
"""After ten wrong tokens in a row, an address may try one each six seconds."""
_MAX_ADDRESSES: Final = 1000
_MAX_KNOWN: Final = 1000


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sent a request.

    Attributes:
        name: Of the token.
        role: What it may do.
    """

    name: str
    role: Role


class Tokens:
    """The tokens that are accepted. Used by one event loop.

    Args:
        token: ``http.token``, which has the role ``control``; None if there is none.
        stored: Tokens that ``streamseg keys token`` made; None for none.
    """

    def __init__(self, token: str | None, stored: AuthorizedKeys | None = None) -> None:
        self._own = None if token is None else digest_of_cookie(cookie_of(token))
        self._stored = stored
        self._attempts = _Attempts()

    def refresh(self) -> None:
        """Read the stored tokens again."""
        if self._stored is not None:
            self._stored.refresh()

    def check(self, headers: Headers, address: str) -> Visitor:
        """Return who sent a request.

        Args:
            headers: Of the request: a bearer token, or the cookie that :func:`streamseg.web.login.log_in` sets.
            address: Where it came from.

        Raises:
            ApiError: there is no token, it is wrong, or there were too many wrong ones.
        """
        scheme, _, given = headers.get("authorization", "").partition(" ")
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if scheme.lower() == "bearer":
            cookie = cookie_of(given.strip())
        if not cookie:
            raise _unauthorized()
        visitor = self.find(cookie, address)
        if visitor is None:
            raise _unauthorized()
        return visitor

    def find(self, cookie: str, address: str) -> Visitor | None:
        """Return whose cookie it is; None if it is wrong.

        Raises:
            ApiError: there were too many wrong ones.
        """
        digest = digest_of_cookie(cookie)
        self._attempts.check(address, digest)
        if self._own is not None and hmac.compare_digest(digest, self._own):
            visitor = Visitor("http.token", "control")
        elif self._stored is not None and (found := self._stored.find(digest)) is not None:
            visitor = Visitor(found.name, found.role)
        else:
            self._attempts.failed(address)
            return None
        self._attempts.succeeded(address, digest)
        return visitor


class _Attempts:
    """A token bucket of wrong tokens for each address; of an IPv6 network, for all its addresses.

    A token that was right before is not limited, so that someone who guesses cannot lock out others behind the same
    proxy.
    """

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def check(self, address: str, digest: str) -> None:
        if (address, digest) in self._known or self._remaining(_network(address)) >= 1:
            return
        raise ApiError(
            429,
            "TOO_MANY_ATTEMPTS",
            f"too many wrong tokens from {address}: wait a few seconds",
            retryable=True,
            headers={"Retry-After": f"{_SECONDS_EACH:.0f}"},
        )

    def failed(self, address: str) -> None:
        network = _network(address)
        self._left[network] = (self._remaining(network) - 1, time.monotonic())
        self._left.move_to_end(network)
        if len(self._left) > _MAX_ADDRESSES:
            self._left.popitem(last=False)
        log.warning("a wrong token from %s", address)  # at most ten at once, then one each six seconds

    def succeeded(self, address: str, digest: str) -> None:
        self._known[address, digest] = None
        self._known.move_to_end((address, digest))
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    def _remaining(self, network: str) -> float:
        left, at = self._left.get(network, (float(_BURST), 0.0))
        return min(_BURST, left + (time.monotonic() - at) / _SECONDS_EACH)


def _network(address: str) -> str:
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    return ip.exploded[:19] if isinstance(ip, IPv6Address) else address


def _unauthorized() -> ApiError:
    return ApiError(
        401,
        "UNAUTHORIZED",
        "the token is missing or wrong: log in at /login, or send Authorization: Bearer TOKEN",
        headers={"WWW-Authenticate": "Bearer"},
    )
