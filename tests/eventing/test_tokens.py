"""Who may send events: the token file, and what the ingress answers by it."""

from pathlib import Path

import pytest

from eventing.errors import UserError
from eventing.node.tokens import read_tokens

ALL = "a" * 32
SOME = "b" * 32


def tokens_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "tokens"
    file.write_text(text)
    file.chmod(mode)
    return file


def decision(file: Path, token: str | None, broker: str = "default/default") -> int | None:
    headers = {} if token is None else {b"authorization": f"Bearer {token}".encode()}
    namespace, name = broker.split("/")
    return read_tokens(file).authorize(namespace, name, headers)


@pytest.mark.parametrize(
    ("token", "broker", "expected"),
    [
        (ALL, "default/default", None),
        (ALL, "other/one", None),
        (SOME, "default/default", 403),
        (SOME, "shop/orders", None),
        (SOME, "team/anything", None),
        ("c" * 32, "default/default", 401),
        ("", "default/default", 401),
        (None, "default/default", 401),
    ],
    ids=[
        "for all",
        "for all, elsewhere",
        "not for this broker",
        "for this broker",
        "for a namespace",
        "unknown",
        "empty",
        "none",
    ],
)
def test_a_token_opens_the_brokers_it_is_for(tmp_path, token, broker, expected):
    file = tokens_file(tmp_path, f"# ours\n\n{ALL}\n{SOME} shop/orders team/*\n")
    assert decision(file, token, broker) == expected


def test_another_scheme_is_no_bearer_token(tmp_path):
    file = tokens_file(tmp_path, ALL)
    headers = {b"authorization": b"Basic " + ALL.encode()}
    assert read_tokens(file).authorize("default", "default", headers) == 401


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("short", "tokens:1: a token has 16 ASCII characters"),
        (f"{ALL} orders", "tokens:1: orders is no broker, as namespace/name"),
        (f"{ALL}\n{ALL}", "tokens:2: the same token"),
        ("# nothing", "it holds no token"),
    ],
)
def test_a_mistake_in_the_file_is_told_without_showing_a_token(tmp_path, text, told):
    with pytest.raises(UserError) as error:
        read_tokens(tokens_file(tmp_path, text))
    assert told in str(error.value)
    assert ALL not in str(error.value)


def test_a_file_that_everybody_may_read_is_refused(tmp_path):
    with pytest.raises(UserError, match="chmod 600"):
        read_tokens(tokens_file(tmp_path, ALL, 0o644))
