"""Small mistakes at the command line: each is told with its place and its remedy."""

import subprocess
import sys
from pathlib import Path

import pytest

BROKER_WITH_A_LOST_SINK = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
spec:
  delivery:
    deadLetterSink:
      ref: {apiVersion: functions/v1, kind: Function, name: nowhere}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: bill}
spec:
  broker: default
  subscriber: {uri: "http://127.0.0.1:9/"}
"""


def eventing(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eventing", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("option", ["--port", "--admin-port"])
@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_what_is_no_port_is_refused(option: str, port: str, tmp_path: Path) -> None:
    told = eventing("up", ".", option, port, cwd=tmp_path)
    assert told.returncode == 2
    assert option in told.stderr and port in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        ("--broker", "rabbit://hush@r", "kafka://host:port"),
        ("--broker", "redis://me:hush@r:port", "redis://localhost:6379"),
        ("--node-name", "a b", "letters, digits"),
    ],
)
def test_an_option_that_can_not_be_meant_is_named_without_what_may_be_secret(
    option: str, value: str, remedy: str, tmp_path: Path
) -> None:
    told = eventing("up", ".", option, value, cwd=tmp_path)
    assert told.returncode == 2
    assert option in told.stderr and remedy in told.stderr
    assert "hush" not in told.stderr and "Traceback" not in told.stderr
    assert not (tmp_path / ".eventing").exists()


@pytest.mark.parametrize("data", ['{"item":', "[1, 2", ' {"a": 1,}'])
def test_data_that_is_almost_json_is_told_of(data: str, tmp_path: Path) -> None:
    (tmp_path / "none.yaml").touch()
    told = eventing("explain", "-f", "none.yaml", "--type", "x", "--data", data, cwd=tmp_path)
    assert "looks like JSON but is none" in told.stderr
    assert "--content-type" in told.stderr


@pytest.mark.parametrize("data", ['{"item": 1}', "plain text", "7"])
def test_other_data_is_not(data: str, tmp_path: Path) -> None:
    (tmp_path / "none.yaml").touch()
    told = eventing("explain", "-f", "none.yaml", "--type", "x", "--data", data, cwd=tmp_path)
    assert "looks like JSON" not in told.stderr


def test_with_a_content_type_any_data_is_what_it_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "none.yaml").touch()
    flags = ["--type", "x", "--data", "{{ template }}", "--content-type", "text/plain"]
    told = eventing("explain", "-f", "none.yaml", *flags, cwd=tmp_path)
    assert "looks like JSON" not in told.stderr


def test_a_dead_letter_sink_that_is_not_there_is_shown_where_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "wiring.yaml").write_text(BROKER_WITH_A_LOST_SINK)
    told = eventing("validate", "wiring.yaml", cwd=tmp_path)
    assert "wiring.yaml:7:7: warning: Trigger/default/bill will not be ready" in told.stdout
