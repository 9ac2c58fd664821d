"""Whatever it is given, the loader answers with resources or with problems that have a place."""

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from eventing.resources import KINDS, Loaded, load_text, loaded_place, to_document, to_yaml

FIELDS = [
    *("apiVersion", "kind", "metadata", "spec", "name", "namespace", "annotations", "broker"),
    *("subscriber", "filters", "exact", "any", "not", "cesql", "delivery", "retry", "timeout"),
    *("deadLetterSink", "ref", "uri", "data", "stringData", "env", "valueFrom", "scale"),
]
TOKENS = [*FIELDS, *KINDS, *"[]{}&*!|>'\"%@`#,?:-~=\t\n\r\\", "- ", ": ", "---\n", "<<: "]
TOKENS += ["&a ", "*a", "!!int ", "012", "1e5", "v1", "eventing.knative.dev/v1", "\x85", "\u2028"]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def check(loaded: Loaded) -> None:
    for problem in loaded.errors + loaded.warnings:
        assert problem.line >= 1 and problem.column >= 1 and problem.message
        assert str(problem).startswith("f.")
    for resource in loaded.resources:
        assert resource.source.line >= 1
        assert [str(problem) for problem in load_text(to_yaml([resource])).errors] == [] or (
            resource.kind == "Secret"
        )


@settings(deadline=None)
@given(st.text())
def test_any_text(text: str) -> None:
    check(load_text(text, "f.yaml"))
    check(load_text(text, "f.json"))


@settings(deadline=None)
@given(st.binary())
def test_any_bytes(content: bytes) -> None:
    check(load_text(content, "f.yaml"))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TOKENS) | st.text(string.ascii_letters, max_size=3), max_size=60))
def test_anything_that_looks_like_yaml(tokens: list[str]) -> None:
    check(load_text("".join(tokens), "f.yaml"))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(KINDS)), values, values, values)
def test_any_values_in_any_kind(kind: str, metadata: object, spec: object, data: object) -> None:
    document = {
        "apiVersion": KINDS[kind].model_fields["api_version"].default,
        "kind": kind,
        "metadata": metadata if isinstance(metadata, dict) else {"name": "a"},
        ("data" if kind in ("ConfigMap", "Secret") else "spec"): spec,
        "status": data,
    }
    check(load_text(yaml_of(document), "f.yaml"))


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text("abcy10", min_size=1, max_size=4),
        st.text(max_size=30) | st.text("01aeExo .-#:é\t\n\x85", max_size=30),
    )
)
def test_what_is_dumped_is_loaded_back_the_same(data: dict[str, str]) -> None:
    model = KINDS["ConfigMap"].model_validate({"metadata": {"name": "a"}, "data": data})
    (again,) = load_text(to_yaml([model]), "f.yaml").resources
    assert to_document(again) == to_document(model)
    for key in data:
        assert loaded_place(again, ("data", key)).line > 4


def yaml_of(value: object) -> str:
    """YAML in flow style, written by hand so that a dumper's habits bound nothing."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{yaml_of(k)}: {yaml_of(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(yaml_of, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" if not c.isalnum() else c for c in value) + '"'
    return {None: "~", True: "true", False: "false"}.get(value, repr(value))  # type: ignore[call-overload,no-any-return]
