"""The rules every event obeys, as `validate_event` holds them against events of users' code."""

from typing import Any

import pytest

from eventing.errors import InvalidEvent
from eventing.event import Event, declares_json, validate_event


def made(**attributes: Any) -> Event:
    least = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    return Event({**least, **attributes})


def without(name: str) -> Event:
    event = made()
    return Event({key: value for key, value in event.attributes.items() if key != name})


def complaint(event: Event) -> str:
    with pytest.raises(InvalidEvent) as caught:
        validate_event(event)
    return str(caught.value)


def test_an_event_with_all_core_attributes_and_extensions_is_valid() -> None:
    validate_event(
        made(
            datacontenttype="application/json; charset=utf-8",
            dataschema="https://example.com/schema#1",
            subject="a subject",
            time="2018-04-05T17:31:00.25+02:00",
            ext1="",
        )
    )


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_a_required_attribute_must_be_there_and_not_empty(name: str) -> None:
    assert complaint(without(name)).startswith(f"attribute '{name}' is missing")
    assert complaint(made(**{name: ""})).startswith(f"attribute '{name}' is empty")


@pytest.mark.parametrize("version", ["0.3", "1", "1.0.2", "2.0", " 1.0"])
def test_only_specversion_1_0_is_known(version: str) -> None:
    assert "CloudEvents 1.0" in complaint(made(specversion=version))


@pytest.mark.parametrize("name", ["Upper", "under_score", "da-sh", "", "ä", "a b", "²"])
def test_a_name_is_made_of_lower_case_letters_and_digits(name: str) -> None:
    assert "lower-case letters" in complaint(made(**{name: "x"}))


def test_data_is_no_attribute_name() -> None:
    assert "'data'" in complaint(made(data="x"))


@pytest.mark.parametrize("value", [5, True, None, b"x", ["x"]])
def test_a_value_must_be_a_string_already(value: object) -> None:
    assert "'ext'" in complaint(made(ext=value))


def test_a_lone_surrogate_is_no_character() -> None:
    assert "surrogate" in complaint(made(subject="\ud800"))


def test_data_must_be_bytes() -> None:
    event = Event(made().attributes, "text")  # type: ignore[arg-type]
    assert complaint(event).startswith("data is of type str")


@pytest.mark.parametrize(
    "time",
    [
        "2018-04-05T17:31:00Z",
        "2018-04-05t17:31:00z",
        "2018-04-05T17:31:00.123456789Z",
        "2018-04-05T17:31:00-11:30",
        "2016-12-31T23:59:60Z",
        "2024-02-29T00:00:00Z",
    ],
)
def test_a_time_may_be_any_rfc_3339_timestamp(time: str) -> None:
    validate_event(made(time=time))


@pytest.mark.parametrize(
    "time",
    [
        "",
        "now",
        "1522949460",
        "2018-04-05",
        "2018-04-05T17:31:00",
        "2018-04-05 17:31:00Z",
        "20180405T173100Z",
        "2018-04-05T17:31Z",
        "2018-04-05T17:31:00,5Z",
        "2018-04-05T17:31:00.Z",
        "2018-04-05T17:31:00+0100",
        "2018-02-30T00:00:00Z",
        "2018-04-05T24:00:00Z",
        "2018-04-05T17:60:00Z",
        "2018-04-05T17:31:61Z",
        "٢٠١٨-04-05T17:31:00Z",
        "2018-04-05T17:31:00Z\n",
    ],
)
def test_any_other_time_is_refused(time: str) -> None:
    assert "RFC 3339" in complaint(made(time=time))


def test_a_subject_is_not_empty() -> None:
    assert "'subject' is empty" in complaint(made(subject=""))


@pytest.mark.parametrize("schema", ["", "relative/path", "//host/path", "a b:c", "https:"])
def test_a_dataschema_is_an_absolute_uri(schema: str) -> None:
    assert "absolute URI" in complaint(made(dataschema=schema))


@pytest.mark.parametrize("media_type", ["", " text/plain", "text/pläin", "text/plain\r\nx: y"])
def test_a_datacontenttype_can_stand_in_a_header(media_type: str) -> None:
    assert "media type" in complaint(made(datacontenttype=media_type))


def test_control_characters_in_strings_pass_as_they_do_in_the_official_sdks() -> None:
    validate_event(made(subject="line\nbreak\x7f", ext="\x00"))


def test_a_message_shows_no_more_than_the_start_of_a_long_value() -> None:
    assert len(complaint(made(time="9" * 10_000))) < 300


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "Application/JSON",
        "text/json",
        "application/problem+json",
        "application/json; charset=utf-8",
        "application/json ;charset=utf-8",
    ],
)
def test_content_types_that_declare_json(media_type: str) -> None:
    assert declares_json(media_type)


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "json",
        "application/jsonp",
        "application/x-ndjson",
        "a/b; x=+json",
        "a/json-seq",
    ],
)
def test_content_types_that_do_not(media_type: str) -> None:
    assert not declares_json(media_type)
