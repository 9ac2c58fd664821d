"""Whom a caller trusts and as whom it is known: CAs, a client certificate, a token or a password.

None of it is ever shown: not by repr, not in the errors raised here.
"""

import base64
import os
import re
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from eventing.errors import UserError

_TOKEN = re.compile(r"[\x21-\x7e]+")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate, with those between it and its CA, and its key: PEM texts, as in the tls.crt
    and tls.key of a Secret."""

    chain: str = field(repr=False)
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Security:
    """How a server is checked, and what it is shown.

    ca: PEM text of the CAs that are trusted; None = the system's. system_cas: they are trusted
    beside `ca`, as Knative means its `CACerts`; else `ca` alone is. server_name: what the server's
    certificate has to be for, and what is asked for (SNI), where that is not the host of the URL.
    verify: False takes any certificate, and is for tests.
    token: sent as `Authorization: Bearer` (RFC 6750); white space around it is left out, as a
    Secret made from a file ends with a line break. basic: user and password (RFC 7617).
    """

    ca: str | None = field(default=None, repr=False)
    system_cas: bool = False
    client_certificate: ClientCertificate | None = field(default=None, repr=False)
    server_name: str | None = None
    verify: bool = True
    token: str | None = field(default=None, repr=False)
    basic: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        values: Mapping[str, str],
        *,
        ca: str | None = None,
        server_name: str | None = None,
        verify: bool = True,
    ) -> "Security":
        """From what Secrets hold, by the keys they have there: ca.crt, tls.crt and tls.key, token,
        username and password. Those that are missing are none; `ca` is one beside them."""
        certificate = basic = None
        if "tls.crt" in values or "tls.key" in values:
            certificate = ClientCertificate(values.get("tls.crt", ""), values.get("tls.key", ""))
        if "username" in values or "password" in values:
            basic = (values.get("username", ""), values.get("password", ""))
        return cls(
            ca=ca if ca is not None else values.get("ca.crt"),
            client_certificate=certificate,
            server_name=server_name,
            verify=verify,
            token=values.get("token"),
            basic=basic,
        )

    def trusting(self, ca: str | None) -> "Security":
        """It with other CAs, beside the system's; as it is where there are none."""
        return self if ca is None else replace(self, ca=ca, system_cas=True)

    def authorization(self) -> str | None:
        """The header's value. Raises UserError for a token or user that can't be sent."""
        if self.token is not None and self.basic is not None:
            raise UserError("a bearer token stands beside a user and password: keep one of them")
        if self.token is not None:
            token = self.token.strip()
            if not token:
                raise UserError("the bearer token is empty")
            if _TOKEN.fullmatch(token) is None:
                raise UserError(
                    "the bearer token can't be sent: it holds a space, a control character or one "
                    "that is not ASCII"
                )
            return f"Bearer {token}"
        if self.basic is not None:
            user, password = self.basic
            if ":" in user or _CONTROL.search(user + password):
                raise UserError(
                    "the user and password can't be sent: a user holds no colon, and neither of "
                    "them a line break or another control character"
                )
            return basic_authorization(user.encode(), password.encode())
        return None

    def tls_context(self, *, http2: bool, http1: bool) -> ssl.SSLContext:
        """What a session is opened with; `http2` and `http1` are offered to the server (ALPN).

        The same for all who ask for the same, since each costs milliseconds. Raises UserError for
        PEM that is none, CAs that have all expired, a key that does not fit its certificate.
        """
        if self.ca is not None:
            _check_not_expired(self.ca)
        protocols = ("h2",) * http2 + ("http/1.1",) * http1
        return _context(self.ca, self.system_cas, self.client_certificate, self.verify, protocols)


PLAIN = Security()
"""The system's CAs, and no identity."""


def basic_authorization(user: bytes, password: bytes) -> str:
    return f"Basic {base64.b64encode(user + b':' + password).decode()}"


@lru_cache(maxsize=64)
def _context(
    ca: str | None,
    system_cas: bool,
    client: ClientCertificate | None,
    verify: bool,
    protocols: tuple[str, ...],
) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_certificates(ca) if ca is not None else None)
    if ca is not None:
        # Whatever is given is trusted, as in Go: also what stands between a root and the server.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if ca is not None and system_cas:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if client is not None:
        _load(client, context)
    context.set_alpn_protocols(list(protocols))
    return context


@lru_cache(maxsize=64)
def _expiry(ca: str) -> float:
    """When the last of these CAs expires, in Unix seconds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=_certificates(ca))
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise UserError(
            f"the CA certificates are no PEM certificates ({_reason(error)}): they begin with "
            "-----BEGIN CERTIFICATE-----"
        ) from None
    # One that may sign nothing is of use all the same where the server shows exactly it.
    dates = [str(certificate["notAfter"]) for certificate in context.get_ca_certs()]
    return max(map(ssl.cert_time_to_seconds, dates), default=float("inf"))


def _certificates(text: str) -> str:
    """Without what stands between them: names, often, that are not ASCII (RFC 7468, section 2)."""
    found = _CERTIFICATE.findall(text)
    if not found:
        raise ValueError("none is in there")
    return "\n".join(found)


def _check_not_expired(ca: str) -> None:
    expiry = _expiry(ca)
    if expiry < time.time():
        when = time.strftime("%Y-%m-%d", time.gmtime(expiry))
        raise UserError(f"the CA certificates have expired on {when}: give newer ones")


def _load(client: ClientCertificate, context: ssl.SSLContext) -> None:
    what = "the client certificate can't be used"
    if "-----BEGIN CERTIFICATE-----" not in client.chain:
        raise UserError(f"{what}: tls.crt holds no PEM certificate (-----BEGIN CERTIFICATE-----)")
    if "PRIVATE KEY-----" not in client.key:
        raise UserError(f"{what}: tls.key holds no PEM private key (-----BEGIN PRIVATE KEY-----)")
    if "ENCRYPTED" in client.key:
        raise UserError(f"{what}: its key is encrypted; give it without a passphrase")
    try:
        with _readable(client.chain) as chain, _readable(client.key) as key:
            # Without a password given, OpenSSL would ask the terminal for one.
            context.load_cert_chain(chain, key, password="")
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            raise UserError(f"{what}: tls.key is not the key of the certificate in tls.crt") from (
                None
            )
        raise UserError(f"{what}: {_reason(error)}") from None


@contextmanager
def _readable(text: str) -> Iterator[str]:
    """A file that holds `text`, as OpenSSL reads no key from memory: one without a name where the
    system has such, so that the key comes on no disk."""
    if sys.platform == "linux" and Path("/proc/self/fd").exists():
        descriptor = os.memfd_create("pem")
        try:
            os.write(descriptor, text.encode())
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile(prefix="eventing-") as file:
        file.write(text.encode())
        file.flush()
        yield file.name


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error)
    return reason.replace("_", " ").lower()
