"""Services that run elsewhere: TLS and identities of a Function, CAs of a destination, and every
mistake."""

import json
from typing import Any

import pytest
from certificates import Authority

from eventing.resources import Function, Trigger, load_text, to_yaml
from functions.http.security import ClientCertificate, Security

CA = Authority().ca
KEY = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
CUT_OFF = CA[: len(CA) // 2] + "\n-----END CERTIFICATE-----\n"
TOKEN = {"bearerToken": {"valueFrom": {"secretKeyRef": {"name": "crm", "key": "api-key"}}}}
BASIC = {"basic": {"secretRef": {"name": "login"}}}


def document(**spec: Any) -> str:
    fields = {"uri": "https://crm.example/events"} | spec
    lines = [f"  {name}: {json.dumps(value)}\n" for name, value in fields.items() if value]
    head = "apiVersion: functions/v1\nkind: Function\nmetadata: {name: f, namespace: shop}\nspec:\n"
    return head + "".join(lines)


def function(**spec: Any) -> Function:
    loaded = load_text(document(**spec), "f.yaml")
    assert [str(fault) for fault in (*loaded.errors, *loaded.warnings)] == []
    (resource,) = loaded.resources
    (again,) = load_text(to_yaml([resource])).resources
    assert again == resource and isinstance(resource, Function)
    return resource


def complaints(**spec: Any) -> list[str]:
    return [str(error) for error in load_text(document(**spec), "f.yaml").errors]


def warnings(**spec: Any) -> list[str]:
    loaded = load_text(document(**spec), "f.yaml")
    assert loaded.errors == []
    return [str(warning) for warning in loaded.warnings]


# What it says


def test_a_function_that_says_nothing_trusts_the_system_and_shows_nothing() -> None:
    access = function().access
    assert (access.secrets, access.ca, access.server_name, access.verify) == ({}, None, None, True)


def test_a_function_that_says_all() -> None:
    made = function(
        tls={
            "caCertsFrom": {"configMapKeyRef": {"name": "trust", "key": "bundle.pem"}},
            "clientCertificate": {"secretRef": {"name": "client"}},
            "serverName": "crm.internal",
        },
        auth=TOKEN,
    )
    access = made.access
    assert (access.server_name, access.verify) == ("crm.internal", True)
    assert {
        name: (reference.kind, reference.namespace, reference.name, reference.key)
        for name, reference in access.secrets.items()
    } == {
        "ca.crt": ("ConfigMap", "shop", "trust", "bundle.pem"),
        "tls.crt": ("Secret", "shop", "client", "tls.crt"),
        "tls.key": ("Secret", "shop", "client", "tls.key"),
        "token": ("Secret", "shop", "crm", "api-key"),
    }
    assert set(access.secrets.values()) <= set(made.references())


def test_a_user_and_password_stand_in_a_secret_of_their_own() -> None:
    secrets = function(auth=BASIC).access.secrets
    assert {name: reference.key for name, reference in secrets.items()} == {
        "username": "username",
        "password": "password",
    }


def test_cas_may_stand_in_the_document() -> None:
    assert function(tls={"caCerts": CA}).access.ca == CA
    assert function(tls={"caCerts": f"# Zürich\n{CA}# Genève\n{CA}"}).access.ca is not None


def test_a_reference_says_where_it_stands() -> None:
    text = document(auth=TOKEN)
    (resource,) = load_text(text, "f.yaml").resources
    assert isinstance(resource, Function)
    (reference,) = resource.access.secrets.values()
    assert reference.path == ("spec", "auth", "bearerToken", "valueFrom", "secretKeyRef")


def test_what_the_secrets_hold_makes_the_security_of_the_client() -> None:
    access = function(
        tls={"clientCertificate": {"secretRef": {"name": "client"}}, "serverName": "crm.internal"},
        auth=TOKEN,
    ).access
    values = dict.fromkeys(access.secrets, "x") | {"tls.key": "y"}
    made = Security.of(values, ca=access.ca, server_name=access.server_name, verify=access.verify)
    assert made == Security(
        client_certificate=ClientCertificate("x", "y"), server_name="crm.internal", token="x"
    )
    basic = Security.of(dict.fromkeys(function(auth=BASIC).access.secrets, "x"))
    assert basic == Security(basic=("x", "x"))
    assert Security.of({}) == Security()
    assert Security(token="x").trusting("ca") == Security(ca="ca", system_cas=True, token="x")
    assert Security(token="x").trusting(None) == Security(token="x")


# Mistakes


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"tls": {"caCerts": "x"}}, "spec.tls.caCerts: holds no PEM certificate"),
        ({"tls": {"caCerts": CA + KEY}}, "spec.tls.caCerts: holds a private key"),
        ({"tls": {"caCerts": CUT_OFF}}, "spec.tls.caCerts: holds a certificate that can't be read"),
        (
            {
                "tls": {
                    "caCerts": CA,
                    "caCertsFrom": {"secretKeyRef": {"name": "s", "key": "k"}},
                }
            },
            'spec.tls.caCertsFrom: stands beside "caCerts"; keep one of them',
        ),
        ({"tls": {"caCertsFrom": {}}}, 'needs a "secretKeyRef" or a "configMapKeyRef"'),
        ({"tls": {"serverName": "crm:8443/x"}}, "is no name of a host"),
        ({"tls": {"serverName": "-crm"}}, "is no name of a host"),
        ({"tls": {"insecureSkipVerify": "yes"}}, "spec.tls.insecureSkipVerify"),
        ({"tls": {"clientCertificate": {}}}, "spec.tls.clientCertificate"),
        ({"tls": {"caCert": CA}}, 'unknown field "caCert" in spec.tls; did you mean "caCerts"?'),
        ({"auth": {**TOKEN, **BASIC}}, 'spec.auth.basic: stands beside "bearerToken"'),
        ({"auth": {"bearerToken": "hush"}}, "spec.auth.bearerToken: is kept in a Secret"),
        ({"auth": {"basic": "me:hush"}}, "spec.auth.basic: is kept in a Secret"),
        ({"uri": "http://crm/", "tls": {"serverName": "x"}}, "needs a uri that begins with https"),
        ({"uri": "https://me:hush@crm/", "auth": TOKEN}, "stands beside the user in the uri"),
        (
            {"uri": None, "handler": "app:f", "tls": {"serverName": "x"}},
            'spec.tls: is for a service that runs elsewhere, and there is no "uri"',
        ),
        (
            {"uri": None, "image": "registry/f:1", "auth": TOKEN},
            'spec.auth: is for a service that runs elsewhere, and there is no "uri"',
        ),
    ],
)
def test_mistakes(spec: dict[str, Any], complaint: str) -> None:
    (told,) = complaints(**spec)
    assert complaint in told
    assert told.startswith("f.yaml:")
    assert "hush" not in told
    assert "AAAA" not in told


def test_a_token_in_the_document_is_never_shown() -> None:
    told = complaints(auth={"bearerToken": {"value": "hush"}})
    assert any('unknown field "value"' in complaint for complaint in told)
    assert "hush" not in "".join(told)


def test_an_empty_identity_is_a_mistake() -> None:
    text = document() + "  auth: {}\n"
    (told,) = [str(error) for error in load_text(text, "f.yaml").errors]
    assert 'spec.auth: needs a "bearerToken" or a "basic"' in told


def test_what_its_author_had_better_know() -> None:
    (told,) = warnings(tls={"insecureSkipVerify": True})
    assert "insecureSkipVerify takes any certificate: whoever is in between" in told
    (told,) = warnings(tls={"insecureSkipVerify": True, "caCerts": CA})
    assert "the CAs that are given have no effect" in told
    (told,) = warnings(uri="http://crm.example/", auth=TOKEN)
    assert "auth sends a token that all in between can read" in told
    (told,) = warnings(uri="http://crm.example/", auth=BASIC)
    assert "sends a password" in told
    assert warnings(uri="http://localhost:9000/", auth=TOKEN) == []


# CAs of a destination


def trigger(subscriber: dict[str, Any]) -> str:
    return (
        "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: t}\n"
        f"spec: {{broker: default, subscriber: {json.dumps(subscriber)}}}\n"
    )


@pytest.mark.parametrize(
    "subscriber",
    [{"uri": "https://crm/"}, {"ref": {"kind": "Function", "name": "crm"}, "uri": "orders"}],
)
def test_the_cas_of_a_destination_are_part_of_its_target(subscriber: dict[str, Any]) -> None:
    loaded = load_text(trigger(subscriber | {"CACerts": CA}), "t.yaml")
    assert (loaded.errors, loaded.warnings) == ([], [])
    (resource,) = loaded.resources
    assert isinstance(resource, Trigger)
    target = resource.subscriber
    assert target.ca_certs == CA
    assert "CERTIFICATE" not in f"{target} {target!r}"


@pytest.mark.parametrize(
    "subscriber",
    [{"uri": "http://crm/"}, {"ref": {"kind": "Broker", "name": "other"}}],
)
def test_the_cas_of_a_destination_without_tls_have_no_effect(subscriber: dict[str, Any]) -> None:
    loaded = load_text(trigger(subscriber | {"CACerts": CA}), "t.yaml")
    (told,) = [str(warning) for warning in loaded.warnings]
    assert "CACerts has no effect: it is not reached by https" in told


def test_cas_of_a_destination_that_are_none_are_refused() -> None:
    loaded = load_text(trigger({"uri": "https://crm/", "CACerts": "x"}), "t.yaml")
    (told,) = [str(error) for error in loaded.errors]
    assert "spec.subscriber.CACerts: holds no PEM certificate" in told
