"""Where an HTTP subscriber is: its URL, read once into all that a request needs of it."""

import base64
import re
import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from eventing.errors import UserError

_PATH_SAFE = "%/:@!$&'()*+,;=~?"
_CREDENTIALS = re.compile(r"//.*@")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go: an http or https URL, read once.

    `url` may be shown and logged: credentials of the original appear in it no more than in the
    repr, they only travel in `head`, as a Basic Authorization header (RFC 7617). Addresses of one
    `key` share connections.
    """

    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None = field(repr=False, compare=False)
    head: bytes = field(repr=False)
    key: str = field(repr=False)

    @classmethod
    def parse(cls, url: str, *, ca_file: str | None = None) -> "Address":
        """Read `url`; https trusts the system's CAs, or those of the PEM file `ca_file` alone.

        Raises UserError for what is no such URL, and for a CA file that can't be read.
        """
        shown = _CREDENTIALS.sub("//", url)
        if _UNPRINTABLE.search(url):
            raise UserError(f"{shown!r} holds a space or control character: percent-encode it")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            # The error may quote the URL, and a password with a "/" in it is read as a port.
            detail = "its host or port can't be read" if "@" in url else str(error)
            raise UserError(f"{shown!r} is no URL: {detail}") from None
        if parts.scheme not in ("http", "https"):
            raise UserError(f"{shown!r} is no address to send to: write http://… or https://…")
        if not parts.hostname:
            raise UserError(f"{shown!r} names no host: write http://host:port/path")
        if port == 0:
            raise UserError(f"{shown!r} names port 0: write one from 1 to 65535")
        host = _host(parts.hostname, shown)
        tls = _trust(ca_file) if parts.scheme == "https" else None
        default_port = 443 if tls else 80
        # A zone (fe80::1%eth0) means something on this machine only (RFC 6874, section 4).
        named = f"[{host.partition('%')[0]}]" if ":" in host else host
        authority = named if port in (None, default_port) else f"{named}:{port}"
        path = quote(parts.path, safe=_PATH_SAFE) or "/"
        query = "?" + quote(parts.query, safe=_PATH_SAFE) if parts.query else ""
        head = f"POST {path}{query} HTTP/1.1\r\nhost: {authority}\r\n"
        if parts.username is not None:
            user, password = parts.username, parts.password or ""
            pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
            head += f"authorization: Basic {base64.b64encode(pair).decode()}\r\n"
        return cls(
            url=f"{parts.scheme}://{authority}{path}{query}",
            host=host,
            port=port or default_port,
            tls=tls,
            head=head.encode("ascii"),
            key=f"{url} {id(tls)}",
        )


def _host(name: str, shown: str) -> str:
    """The host as it is looked up: an address as it stands, a name in its ASCII form."""
    if ":" in name:
        return unquote(name)
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise UserError(f"{shown!r} names no valid host: {error}") from None


def _trust(ca_file: str | None) -> ssl.SSLContext:
    if ca_file is None:
        return _tls_context(None, 0)
    try:
        return _tls_context(ca_file, Path(ca_file).stat().st_mtime_ns)
    except ssl.SSLError as error:
        detail = f"it holds no PEM certificates ({error.reason or error})"
    except OSError as error:
        detail = str(error.strerror)
    raise UserError(f"the CA file {ca_file!r} can't be used: {detail}")


@lru_cache(maxsize=64)
def _tls_context(ca_file: str | None, changed: int) -> ssl.SSLContext:
    """One context for all who trust the same file, as it was when `changed`: each costs ms."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
