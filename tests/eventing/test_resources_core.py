"""ConfigMap, Secret, Namespace; and that secrets stay hidden."""

import base64

import pytest

from eventing.resources import (
    ConfigMap,
    Namespace,
    Resource,
    Secret,
    load_text,
    to_document,
    to_json,
    to_yaml,
)

SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: s}
type: Opaque
data: {user: aHVudGVyMQ==, both: aHVudGVyMQ==}
stringData: {password: hunter2, both: hunter3}
"""


def one(text: str) -> Resource:
    (resource,) = load_text(text).resources
    return resource


def test_a_config_map_holds_text_and_bytes() -> None:
    config = one("""\
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {a: ü}
binaryData: {b: /wA=}
""")
    assert isinstance(config, ConfigMap)
    assert config.value("a") == "ü".encode()
    assert config.value("b") == b"\xff\x00"
    assert config.value("c") is None


def test_a_secret_is_decoded_and_its_string_data_wins() -> None:
    secret = one(SECRET)
    assert isinstance(secret, Secret)
    assert secret.value("user") == b"hunter1"
    assert secret.value("password") == b"hunter2"
    assert secret.value("both") == b"hunter3"
    assert secret.value("none") is None


def test_a_secret_never_shows() -> None:
    secret = one(SECRET)
    shown = f"{secret!r} {secret} {secret.model_dump()} {secret.model_dump_json()} "
    shown += f"{to_yaml([secret])} {to_json([secret])} {secret.source!r} "
    shown += repr(list(secret.__rich_repr__())) + repr(secret._origin)
    for value in (b"hunter1", b"hunter2", b"hunter3"):
        assert value.decode() not in shown
        assert base64.b64encode(value).decode() not in shown


def test_what_a_dump_shows_for_a_secret_can_not_be_loaded_by_mistake() -> None:
    errors = load_text(to_yaml([one(SECRET)])).errors
    assert len(errors) == 4


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kind: Secret\ndata: {a: '%'}\n", "data.a: is no base64; plain text"),
        ("kind: Secret\ndata: {a b: ''}\n", 'data: "a b" is no valid key'),
        ("kind: ConfigMap\ndata: {a: b}\nbinaryData: {a: ''}\n", 'binaryData.a: "a" stands in'),
        ("kind: ConfigMap\nspec: {}\n", 'unknown field "spec"'),
        ("kind: ConfigMap\ndata: {a: {b: c}}\n", "data.a: has to be text, not a mapping"),
    ],
)
def test_a_mistake_is_told(text: str, complaint: str) -> None:
    (error,) = load_text(f"apiVersion: v1\nmetadata: {{name: a}}\n{text}").errors
    assert error.message.startswith(complaint)


def test_a_namespace_stands_in_no_namespace() -> None:
    namespace = one("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
    assert isinstance(namespace, Namespace)
    assert str(namespace.identity) == "Namespace/shop"
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n"
    (error,) = load_text(text).errors
    assert error.message == "metadata.namespace: a Namespace stands in no namespace; leave it out"


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ("{name: ''}", 'metadata.name: "" is no valid name'),
        ("{name: a_b}", '"a_b" is no valid name: only a-z, 0-9, "-" and ".", with a letter or '),
        ("{name: -a}", "is no valid name"),
        (f"{{name: {'a' * 254}}}", "is no valid name"),
        ("{name: a, namespace: a.b}", 'metadata.namespace: "a.b" is no valid name'),
        ("{name: a, labels: {a: b/c}}", 'metadata.labels.a: "b/c" is no valid label'),
        ("{name: a, labels: {a/b/c: d}}", 'metadata.labels: "a/b/c" is no valid key'),
        ("{name: a, annotations: {a: 1}}", "metadata.annotations.a: has to be text"),
        ("{nam: a}", '"name" is missing in metadata'),
    ],
)
def test_mistaken_metadata_is_told(metadata: str, complaint: str) -> None:
    loaded = load_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\n")
    assert complaint in loaded.errors[0].message


def test_a_dump_is_what_was_written_in_the_order_of_the_kind() -> None:
    text = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: c
  labels:
    a: 'on'
data:
  a: |
    one
      two
  b: '012'
  c: 1E3 m
"""
    assert to_yaml([one(text)]) == text
    assert to_document(one(text + "status: {}\n")) == to_document(one(text))


def test_several_resources_are_dumped_so_that_they_load_again() -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
    both = [one(text), one(text.replace("name: a", "name: b"))]
    assert load_text(to_yaml(both)).resources == both
    assert load_text(to_json(both), "f.json").resources == both
    assert load_text(to_json(both[:1]), "f.json").resources == both[:1]
