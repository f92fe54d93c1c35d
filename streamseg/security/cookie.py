"""The login cookie of the HTTP API.

Ours because there is nothing to sign: cookie packages (``itsdangerous``) protect the content of a session.
"""

from __future__ import annotations

import hashlib
import hmac


def cookie_of(token: str) -> str:
    """Return the cookie of a token: it proves that the browser had the token without storing it."""
    return hmac.new(token.encode(), b"streamseg cookie", hashlib.sha256).hexdigest()
