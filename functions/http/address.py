"""Where an HTTP subscriber is: its URL, read once into all that a request needs of it."""

import re
import ssl
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from eventing.errors import UserError
from functions.http.security import PLAIN, Security, basic_authorization

_PATH_SAFE = "%/:@!$&'()*+,;=~?"
_CREDENTIALS = re.compile(r"//.*@")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go: an http or https URL, read once, and as whom they are sent.

    `url` may be shown and logged: credentials appear in it no more than in the repr, they only
    travel in `head` and `fields`, as an Authorization header. Addresses of one `key` share
    connections; those of two identities never have the same.
    """

    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None = field(repr=False, compare=False)
    server_name: str
    head: bytes = field(repr=False)
    """The first lines of an HTTP/1.1 request."""
    fields: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    """The first fields of an HTTP/2 request."""
    http2: bool
    """Whether a connection may turn out to be of HTTP/2."""
    http2_only: bool
    key: str = field(repr=False)

    @classmethod
    def parse(cls, url: str, *, security: Security = PLAIN, http2: bool | None = None) -> "Address":
        """Read `url`. http2: None = with https, where the server offers it; True = always, also
        without TLS ("prior knowledge"); False = never.

        Raises UserError for what is no such URL, and for certificates, keys and tokens that can't
        be used.
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
        tls = None
        if parts.scheme == "https":
            tls = security.tls_context(http2=http2 is not False, http1=http2 is not True)
        default_port = 443 if tls else 80
        # A zone (fe80::1%eth0) means something on this machine only (RFC 6874, section 4).
        unzoned = host.partition("%")[0]
        named = f"[{unzoned}]" if ":" in host else host
        authority = named if port in (None, default_port) else f"{named}:{port}"
        path = quote(parts.path, safe=_PATH_SAFE) or "/"
        query = "?" + quote(parts.query, safe=_PATH_SAFE) if parts.query else ""
        head = f"POST {path}{query} HTTP/1.1\r\nhost: {authority}\r\n"
        fields = [
            (b":method", b"POST"),
            (b":scheme", parts.scheme.encode()),
            (b":authority", authority.encode()),
            (b":path", (path + query).encode()),
        ]
        authorization = security.authorization()
        if parts.username is not None:
            if authorization is not None:
                raise UserError(
                    f"{shown!r} holds a user, and requests are to show another identity: keep one"
                )
            user, password = parts.username, parts.password or ""
            authorization = basic_authorization(unquote_to_bytes(user), unquote_to_bytes(password))
        if authorization is not None:
            head += f"authorization: {authorization}\r\n"
            fields.append((b"authorization", authorization.encode()))
        server_name = security.server_name or unzoned
        return cls(
            url=f"{parts.scheme}://{authority}{path}{query}",
            host=host,
            port=port or default_port,
            tls=tls,
            server_name=server_name,
            head=head.encode("ascii"),
            fields=tuple(fields),
            http2=http2 or (http2 is None and tls is not None),
            http2_only=http2 is True,
            key=f"{url} {id(tls)} {server_name} {http2} {authorization or ''}",
        )


def _host(name: str, shown: str) -> str:
    """The host as it is looked up: an address as it stands, a name in its ASCII form."""
    if ":" in name:
        return unquote(name)
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise UserError(f"{shown!r} names no valid host: {error}") from None
