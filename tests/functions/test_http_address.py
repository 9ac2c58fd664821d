"""An address is read from a URL once: what it asks for, and what of it may be shown."""

from pathlib import Path

import pytest

from eventing.errors import UserError
from functions.http.address import Address


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


def test_a_ca_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"CA file .*absent\.pem.*No such file"):
        Address.parse("https://sink/", ca_file=str(tmp_path / "absent.pem"))


def test_a_ca_file_without_certificates_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(UserError, match=r"empty\.pem.*no PEM certificates"):
        Address.parse("https://sink/", ca_file=str(tmp_path / "empty.pem"))
