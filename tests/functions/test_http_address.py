"""An address is read from a URL once: what it asks for, and what of it may be shown."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from eventing.errors import UserError
from functions.http.address import Address
from functions.http.security import ClientCertificate, Security


@pytest.mark.parametrize(
    ("url", "head"),
    [
        ("http://sink", b"POST / HTTP/1.1\r\nhost: sink\r\n"),
        ("http://sink:80/", b"POST / HTTP/1.1\r\nhost: sink\r\n"),
        ("https://sink:443/", b"POST / HTTP/1.1\r\nhost: sink\r\n"),
        ("http://sink:8080/a/b?c=d%20e", b"POST /a/b?c=d%20e HTTP/1.1\r\nhost: sink:8080\r\n"),
        ("http://sink/a#fragment", b"POST /a HTTP/1.1\r\nhost: sink\r\n"),
        ("http://sink?q", b"POST /?q HTTP/1.1\r\nhost: sink\r\n"),
        ("http://[::1]:8080/", b"POST / HTTP/1.1\r\nhost: [::1]:8080\r\n"),
        ("http://[fe80::1%25eth0]/", b"POST / HTTP/1.1\r\nhost: [fe80::1]\r\n"),
        ("http://bücher.example/ü", b"POST /%C3%BC HTTP/1.1\r\nhost: xn--bcher-kva.example\r\n"),
    ],
)
def test_a_url_becomes_a_request_line_and_a_host(url: str, head: bytes) -> None:
    assert Address.parse(url).head == head


def test_the_zone_of_a_link_local_address_is_for_the_lookup() -> None:
    assert Address.parse("http://[fe80::1%25eth0]/").host == "fe80::1%eth0"


def test_credentials_become_a_basic_authorization_header() -> None:
    address = Address.parse("http://user:p%40ss@sink/")
    assert b"authorization: Basic dXNlcjpwQHNz\r\n" in address.head


@pytest.mark.parametrize("url", ["http://user:p%40ss@sink:81/x", "https://user:p%40ss@sink/x"])
def test_credentials_are_never_shown(url: str) -> None:
    address = Address.parse(url)
    assert address.url.endswith("/x")
    for text in (address.url, repr(address), str(address)):
        assert "user" not in text
        assert "p%40ss" not in text
        assert "p@ss" not in text


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "no address to send to: write http://"),
        ("sink:8080", "no address to send to"),
        ("ftp://sink/", "no address to send to"),
        ("http:///path", "names no host"),
        ("http://sink:0/", "port 0"),
        ("http://sink:99999/", "Port out of range"),
        ("http://sink:http/", "is no URL"),
        ("http://[::1/", "is no URL"),
        ("http://[zz]/", "is no URL"),
        ("http://sink/a b", "percent-encode"),
        ("http://sink/\r\nx: y", "percent-encode"),
        ("http://sink/\ud800", "percent-encode"),
        ("http://a..b/", "no valid host"),
        (f"http://{'a' * 64}/", "no valid host"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Address.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@sink:99999/",
        "http://user:secret/@sink/",
        "http://user:sec@ret@a..b/",
        "http://user:secret@sink/ ",
        "ftp://user:secret@sink/",
    ],
)
def test_the_error_about_a_url_does_not_show_its_credentials(url: str) -> None:
    with pytest.raises(UserError) as refused:
        Address.parse(url)
    assert "sec" not in str(refused.value)
    assert "ret" not in str(refused.value)


# Identities


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def parsed(**options: Any) -> Address:
    return Address.parse("https://sink/", security=Security(**options))


def test_a_token_becomes_a_bearer_authorization_header_without_the_line_break_of_its_file() -> None:
    address = parsed(token="abc.def-123~+/=\n")
    assert b"\r\nauthorization: Bearer abc.def-123~+/=\r\n" in address.head
    assert (b"authorization", b"Bearer abc.def-123~+/=") in address.fields


def test_a_user_and_password_become_a_basic_authorization_header() -> None:
    address = parsed(basic=("user", "p@ß"))
    assert b"authorization: Basic dXNlcjpwQMOf\r\n" in address.head


def test_tokens_passwords_and_keys_are_never_shown(authority: Authority) -> None:
    issued = authority.issue()
    certificate = ClientCertificate(issued.certificate, issued.key)
    for security in (
        Security(token="hush", client_certificate=certificate),
        Security(basic=("hush", "hush")),
    ):
        address = Address.parse("https://sink/", security=security)
        for value in (security, certificate, address):
            for text in (repr(value), str(value)):
                assert "hush" not in text
                assert "Bearer" not in text
                assert "PRIVATE" not in text


@pytest.mark.parametrize(
    ("security", "message"),
    [
        (Security(token=" \n"), "the bearer token is empty"),
        (Security(token="hush hush"), "bearer token can't be sent: it holds a space"),
        (Security(token="hush\r\nx: y"), "bearer token can't be sent: it holds a space"),
        (Security(token="húsh"), "bearer token can't be sent: it holds a space"),
        (Security(basic=("hu:sh", "x")), "a user holds no colon"),
        (Security(basic=("user", "hu\nsh")), "a user holds no colon"),
        (Security(token="hush", basic=("hush", "x")), "keep one of them"),
    ],
)
def test_an_identity_that_cant_be_sent_is_refused_and_not_shown(
    security: Security, message: str
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        Address.parse("https://sink/", security=security)
    assert "sh" not in str(refused.value).replace("-ASCII", "")


def test_a_user_in_the_url_beside_another_identity_is_refused() -> None:
    with pytest.raises(UserError, match=r"'https://sink/' holds a user.*keep one") as refused:
        Address.parse("https://me:hush@sink/", security=Security(token="t"))
    assert "hush" not in str(refused.value)


def test_two_identities_never_share_connections(authority: Authority) -> None:
    first, second = authority.issue(), authority.issue()
    addresses = [
        parsed(),
        parsed(token="a"),
        parsed(token="b"),
        parsed(basic=("a", "b")),
        parsed(ca=authority.ca),
        parsed(ca=authority.ca, system_cas=True),
        parsed(verify=False),
        parsed(server_name="elsewhere"),
        parsed(client_certificate=ClientCertificate(first.certificate, first.key)),
        parsed(client_certificate=ClientCertificate(second.certificate, second.key)),
        Address.parse("https://sink/", http2=False),
        Address.parse("https://sink/", http2=True),
    ]
    assert len({address.key for address in addresses}) == len(addresses)


def test_one_identity_shares_connections_however_often_it_is_read(authority: Authority) -> None:
    issued = authority.issue()
    certificate = ClientCertificate(issued.certificate, issued.key)
    keys = {parsed(ca=authority.ca, client_certificate=certificate).key for _ in range(3)}
    assert len(keys) == 1


GARBLED = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("ca", ["", "nothing", GARBLED, "-----BEGIN CERTIFICATE-----", "zürich"])
def test_cas_that_are_none_are_refused(ca: str) -> None:
    with pytest.raises(UserError, match="the CA certificates are no PEM certificates"):
        parsed(ca=ca)


def test_what_stands_between_the_cas_is_left_out(authority: Authority) -> None:
    assert parsed(ca=f"# Zürich\n{authority.ca}\n# Genève\n{authority.ca}").tls is not None


def test_cas_that_have_all_expired_are_refused_and_one_that_has_not_is_enough(
    authority: Authority,
) -> None:
    expired = expired_ca()
    with pytest.raises(UserError, match="the CA certificates have expired on 2020-02-01"):
        parsed(ca=expired)
    assert parsed(ca=expired + authority.ca).tls is not None


@pytest.mark.parametrize(
    ("chain", "key", "message"),
    [
        ("nothing", KEY, "tls.crt holds no PEM certificate"),
        ("the certificate", "nothing", "tls.key holds no PEM private key"),
        ("the certificate", "the certificate", "tls.key holds no PEM private key"),
        (GARBLED, "the key", "the client certificate can't be used: "),
        ("the certificate", KEY, "the client certificate can't be used: "),
        ("the certificate", "another key", "tls.key is not the key of the certificate in tls.crt"),
        ("the certificate", "the key, locked", "its key is encrypted"),
    ],
)
def test_a_client_certificate_that_cant_be_used_is_refused(
    authority: Authority, chain: str, key: str, message: str
) -> None:
    issued, other = authority.issue(), authority.issue()
    locked = load_pem_private_key(issued.key.encode(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"locked")
    )
    texts = {
        "the certificate": issued.certificate,
        "the key": issued.key,
        "another key": other.key,
        "the key, locked": locked.decode(),
    }
    certificate = ClientCertificate(texts.get(chain, chain), texts.get(key, key))
    with pytest.raises(UserError, match=message):
        parsed(client_certificate=certificate)


def test_no_descriptor_is_left_of_a_client_certificate(authority: Authority) -> None:
    issued = authority.issue()
    before = len(list(Path("/proc/self/fd").iterdir()))
    parsed(client_certificate=ClientCertificate(issued.certificate, issued.key))
    with pytest.raises(UserError):
        parsed(client_certificate=ClientCertificate(issued.certificate, KEY))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def expired_ca() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gone")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2020, 2, 1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()
