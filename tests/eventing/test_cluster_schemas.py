"""What the tests hold documents for clusters to: what each of its two ways finds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_crds import FOLDER, crd_schema
from cluster_schemas import SECONDS, faults, fields

pytestmark = pytest.mark.timeout(SECONDS)

SPEC = {
    "type": "object",
    "properties": {
        "retry": {"type": "integer"},
        "filters": {
            "type": "array",
            "items": {"type": "object", "properties": {"exact": {"type": "string"}}},
        },
        "free": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def crd(kind: str, spec: dict[str, Any] = SPEC, version: str = "v1") -> str:
    schema = {"type": "object", "properties": {"spec": spec, "status": {"type": "object"}}}
    return "# Of a test.\n" + yaml.safe_dump(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": kind},
            "spec": {
                "group": "shop.example",
                "names": {"kind": kind},
                "versions": [
                    {"name": version, "served": True, "schema": {"openAPIV3Schema": schema}}
                ],
            },
        }
    )


Publish = Callable[..., None]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Writes files into the folder that is searched for CRDs."""
    monkeypatch.setenv(FOLDER, str(tmp_path))

    def write(**texts: str) -> None:
        for name, text in texts.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "some.yaml").write_text(text)

    return write


def document(
    kind: str, spec: dict[str, Any], api_version: str = "shop.example/v1"
) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}, "spec": spec}


# By CRDs of a folder


def test_a_crd_below_the_folder_finds_what_is_wrong_and_what_a_cluster_would_drop(
    publish: Publish,
) -> None:
    publish(other="kind: List\n---\n" + crd("Other"), deep=crd("Order"))
    spec = {"retry": 1, "filters": [{"exact": "a"}], "free": {"any/thing": "b"}}
    assert faults(document("Order", spec)) == []
    (wrong,) = faults(document("Order", {"retry": "1"}))
    assert wrong.startswith("Order a: $.spec.retry: ")
    (unknown,) = faults(document("Order", {"filters": [{"exakt": "a"}]}))
    assert unknown.startswith("Order a: $.spec.filters[0]: ") and "exakt" in unknown
    (status,) = faults(document("Order", {}) | {"status": {}})
    assert "status" in status
    assert fields("shop.example/v1", "Order")["properties"]["spec"] == SPEC


def test_templates_and_links_that_lead_nowhere_are_passed_over(
    publish: Publish, tmp_path: Path
) -> None:
    publish(template="kind: Deployment\n{{ if .annotations }}\n", linked=crd("Linked"))
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere.yaml")
    assert faults(document("Linked", {})) == []


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ({"a": crd("Bill", version="v2")}, r"CRD of Bill in .*a/some\.yaml has no version v1"),
        ({"a": crd("Bill"), "b": crd("Bill", {"type": "object"})}, r"a/some\.yaml and .*b/.* diff"),
        ({"a": "kind: CustomResourceDefinition\n{{ no }}: [\n"}, r"a/some\.yaml .* is not YAML"),
    ],
)
def test_crds_that_say_nothing_certain_are_a_failure(
    texts: dict[str, str], told: str, publish: Publish
) -> None:
    publish(**texts)
    with pytest.raises(pytest.fail.Exception, match=told):
        crd_schema("shop.example/v1", "Bill")


def test_the_same_crd_twice_is_taken(publish: Publish) -> None:
    publish(a=crd("Twice"), b=crd("Twice"))
    assert crd_schema("shop.example/v1", "Twice") is not None


def test_a_folder_that_is_not_there_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "gone"))
    with pytest.raises(pytest.fail.Exception, match=rf"{FOLDER} is .*gone, and that is no folder"):
        crd_schema("shop.example/v1", "Order")


def test_a_kind_that_nobody_publishes_skips_and_says_what_to_set(publish: Publish) -> None:
    with pytest.raises(pytest.skip.Exception, match=f"set {FOLDER} to a folder with the CRD of No"):
        faults(document("Nobody", {}))


# By the models of npm


@pytest.fixture
def no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)


EVENTING, ISTIO = "eventing.knative.dev/v1", "networking.istio.io/v1"
SUBSCRIBER = {"uri": "http://there/"}


@pytest.mark.service("npm")
@pytest.mark.usefixtures("no_folder")
@pytest.mark.parametrize(
    ("kind", "api_version", "spec", "found"),
    [
        (
            "Trigger",
            EVENTING,
            {"broker": "b", "filtres": [{"exact": {}}], "subscriber": SUBSCRIBER},
            ["Trigger a: /spec/filtres: is not a field that the schema knows"],
        ),
        (
            "Trigger",
            EVENTING,
            {"broker": "b", "filters": [{"not": {"exakt": {}}}], "subscriber": SUBSCRIBER},
            ["Trigger a: /spec/filters/0/not/exakt: is not a field that the schema knows"],
        ),
        (
            "Trigger",
            EVENTING,
            {"broker": "b", "filter": {"attributes": {"a": "b", "c/d": 1}}},
            [
                "Trigger a: /spec/filter/attributes/c~1d: must be string",
                "Trigger a: /spec: must have required property subscriber",
            ],
        ),
        (
            "Broker",
            EVENTING,
            {"delivery": {"retry": "3", "timeout": "PT1S"}},
            ["Broker a: /spec/delivery/retry: must be integer"],
        ),
        (
            "DestinationRule",
            ISTIO,
            {"host": "f", "trafficPolicy": {"tls": {"mode": "SOME"}}},
            [
                "DestinationRule a: /spec/trafficPolicy/tls/mode: "
                "must be equal to one of the allowed values"
            ],
        ),
        (
            "VirtualService",
            ISTIO,
            {"http": [{"fault": {"abort": {"httpStatus": 500, "percent": 1}}}]},
            [
                "VirtualService a: /spec/http/0/fault/abort/percent: "
                "is not a field that the schema knows"
            ],
        ),
        ("Trigger", "eventing.knative.dev/v9", {}, RuntimeError),
    ],
)
def test_a_model_finds_what_is_wrong_and_what_a_cluster_would_drop(
    kind: str, api_version: str, spec: dict[str, Any], found: Any
) -> None:
    if found is RuntimeError:
        with pytest.raises(RuntimeError, match=f"{api_version}/{kind}"):
            faults(document(kind, spec, api_version))
    else:
        assert sorted(faults(document(kind, spec, api_version))) == sorted(found)


@pytest.mark.service("npm")
@pytest.mark.usefixtures("no_folder")
def test_a_model_tells_its_fields() -> None:
    spec = fields(ISTIO, "VirtualService")["properties"]["spec"]
    match = spec["properties"]["http"]["items"]["properties"]["match"]["items"]
    assert set(match["properties"]["headers"]["additionalProperties"]["properties"]) == {
        *("exact", "prefix", "regex")
    }
    with pytest.raises(RuntimeError, match="no end of fields"):
        fields(EVENTING, "Trigger")
