"""Decides which addresses the daemon may open for an HTTP client.

The daemon is inside the network, the client may not be: without a check it could make the daemon talk to services that
trust this machine (server-side request forgery). A name is resolved, and all of its addresses are checked. Streams
added over HTTP follow neither redirects nor playlists of http and https (``follow_redirects``). Two holes remain: a
name that resolves differently later, and a redirect by an RTSP server. Both need the token.

Ours because packages for this wrap an HTTP client, but here FFmpeg opens the connections.
"""

from __future__ import annotations

import asyncio
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from streamseg.config.schema import HttpConfig
from streamseg.web.api_error import ApiError

_NETWORK_SCHEMES: Final = ("rtsp", "rtsps", "http", "https")
_WEBCAM: Final = re.compile(r"webcam:\d{1,4}")
_ADDRESS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)")
_UNENCODED: Final = re.compile(
    r"[^/?#]*//(?:[^/?#]*\?.*@|[^#]*#.*@|[^/?#@]*:(?![0-9]*[/?#])[^@/?#]*[/?#].*@)", re.DOTALL
)
"""A password with a character that would end the host of an address."""
_PLAYLIST: Final = re.compile(r"[^?#]*\.(?:m3u8?|mpd|sdp)(?:[?#]|$)", re.IGNORECASE)
_RESOLVE_TIMEOUT_S: Final = 5.0
_METADATA: Final = tuple(
    ip_network(text)
    for text in ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::/32")
)
"""Metadata services, which give machines their credentials: AWS, Google, Azure, Alibaba, Oracle."""

_RESOLVERS: Final = ThreadPoolExecutor(2, thread_name_prefix="resolve")
"""Separate threads: they cannot be stopped, and an unresponsive name server would block threads that snapshots need."""

IpAddress = IPv4Address | IPv6Address


async def check_source(source: str, http: HttpConfig) -> None:
    """Refuse an address that HTTP clients must not open through the daemon.

    Blocks: up to 5 s, to resolve a name.

    Raises:
        ApiError: It is refused; the message names the setting that would allow it.
    """
    if any(character < " " or character == "\x7f" for character in source):
        raise _refused("source: the address holds a control character, for example a line break: remove it")
    if http.allow_files and http.allow_own_addresses:
        return
    if _WEBCAM.fullmatch(source):
        return
    match = _ADDRESS.match(source)
    scheme = match[1].lower() if match else ""
    if scheme not in _NETWORK_SCHEMES:
        if http.allow_files:
            return
        raise _refused(
            "source: expected an address that starts with rtsp://, rtsps://, http://, https:// or webcam:; other kinds "
            "need http.allow_files in the configuration of the daemon"
        )
    if http.allow_own_addresses:
        return
    assert match is not None
    if _UNENCODED.match(source):  # do not show it: the apparent host may be a part of the password
        raise _refused(
            "source: an @ follows a #, a port that is no number, or a ? without a path: if the password holds any of "
            "# / ? @ : %, percent-encode them (# is %23, / is %2F, ? is %3F)"
        )
    if scheme in ("http", "https") and _PLAYLIST.match(source):
        raise _refused(
            "source: a playlist (HLS, DASH) can name any address, this machine's own among them: set "
            "http.allow_own_addresses in the configuration of the daemon, or add the stream to its configuration file"
        )
    host = _host_of(match[2])
    for address in await _resolve(host):
        what = own_service(address)
        if what is not None:
            raise _refused(
                f"source: {host} is {what} ({address}): if a camera is there, set http.allow_own_addresses in the "
                "configuration of the daemon"
            )


def own_service(address: IpAddress) -> str | None:
    """Return a description of an address of this machine or of a non-camera service; None for any other address."""
    plain = _unwrapped(address)
    if plain.is_loopback or plain.is_unspecified:
        return "this machine"
    if any(plain in network for network in _METADATA if network.version == plain.version):
        return "a metadata service or link-local"
    if plain.is_link_local:
        return "link-local"
    if plain.is_multicast or plain.is_reserved:
        return "no address of a camera"
    return "this machine" if _is_ours(plain) else None


def _unwrapped(address: IpAddress) -> IpAddress:
    """Return the IPv4 address inside an IPv6 one: mapped, 6to4, or translated by NAT64."""
    if isinstance(address, IPv4Address):
        return address
    if address in ip_network("64:ff9b::/96"):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_ours(address: IpAddress) -> bool:
    """Whether one of this machine's interfaces has the address: only then can a socket be bound to it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _host_of(authority: str) -> str:
    """Return the host of ``user:password@host:port``, as FFmpeg reads it."""
    host = authority.rpartition("@")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0].partition("%")[0]
    return host.partition(":")[0]


async def _resolve(host: str) -> list[IpAddress]:
    if not host:
        raise _refused("source: the address has no host: write for example rtsp://192.168.1.20/stream1")
    try:
        async with asyncio.timeout(_RESOLVE_TIMEOUT_S):
            found = await asyncio.get_running_loop().run_in_executor(_RESOLVERS, _addresses_of, host)
    except TimeoutError:
        text = f"source: {host} could not be resolved within {_RESOLVE_TIMEOUT_S:g} s"
        raise ApiError(504, "TIMEOUT", text, retryable=True) from None
    except (OSError, UnicodeError):
        raise _refused(f"source: the host {host[:80]!r} is unknown: check its name, or use its address") from None
    return [ip_address(address.partition("%")[0]) for address in found]


def _addresses_of(host: str) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


def _refused(message: str) -> ApiError:
    return ApiError(422, "BAD_CONFIG", message)
