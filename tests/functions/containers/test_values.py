"""The decisions about containers, without an engine: from values to values."""

import random
from dataclasses import replace

import pytest

from functions.containers.configuration import configuration, container_name
from functions.containers.engine_error import EngineAway
from functions.containers.engine_place import EnginePlace, find_engine
from functions.containers.host_process import parse_listeners
from functions.containers.labels import Belonging, spec_digest
from functions.containers.last_words import how_it_ended, with_last_lines
from functions.containers.output import Resumption, batches, messages
from functions.containers.probe import not_listening
from functions.containers.pull_failure import registry_of, why_not_pulled
from functions.containers.spec import ContainerSpec, Probe
from functions.output_lines import LineCutter

OURS = Belonging("default", "thumbnail", "thumbnail-00002", "d")
SPEC = ContainerSpec("registry.example/app:1", env={"A": "1", "B": "2"})

# -- Where the engine is


def found(url=None, environment=None, usable=None, context=lambda: None):
    sockets = usable or {}
    return find_engine(url, environment or {}, sockets.get, context)


def test_the_engine_is_the_first_that_is_given_or_found():
    everywhere = {
        "/var/run/docker.sock": True,
        "/run/user/1/podman/podman.sock": True,
        "/run/user/1/docker.sock": True,
        "/run/podman/podman.sock": True,
    }
    own = {"XDG_RUNTIME_DIR": "/run/user/1"}
    host = own | {"DOCKER_HOST": "tcp://127.0.0.1:2375"}
    chosen = EnginePlace("unix:///rootless.sock", "Docker context rootless")
    assert found("unix:///a.sock", host, everywhere, lambda: chosen).url == "unix:///a.sock"
    assert found(None, host, everywhere, lambda: chosen).url == "tcp://127.0.0.1:2375"
    assert found(None, own, everywhere, lambda: chosen) is chosen
    for path in everywhere:
        assert found(None, own, everywhere).url == f"unix://{path}"
        everywhere = {**everywhere, path: None}
    with pytest.raises(EngineAway, match=r"no container engine was found.*DOCKER_HOST"):
        found(None, own, everywhere)


def test_a_socket_one_may_not_use_is_passed_over_or_said():
    usable = {"/var/run/docker.sock": False, "/run/podman/podman.sock": True}
    assert found(usable=usable).url == "unix:///run/podman/podman.sock"
    with pytest.raises(EngineAway, match=r"may not use .*/var/run/docker\.sock.*group"):
        found(usable={"/var/run/docker.sock": False})


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ssh://somebody@elsewhere", "none this node can use"),
        ("tcp://10.1.2.3:2375", "on another machine"),
        ("unix://", "names no socket"),
        ("npipe:////./pipe/docker", "none this node can use"),
        ("tcp://[::1", "is none"),
    ],
)
def test_an_engine_whose_containers_cannot_be_called_is_refused(url, said):
    with pytest.raises(EngineAway, match=said):
        found(url)


@pytest.mark.parametrize(
    "url", ["tcp://127.0.0.1:1", "tcp://localhost:1", "https://[::1]:2", "unix:///a.sock"]
)
def test_an_engine_of_this_machine_is_taken(url):
    assert found(url).url == url


# -- What a container is made of


def test_the_configuration_keeps_to_the_runtime_contract():
    made = configuration(SPEC, OURS, node="n", image="sha256:1")
    assert made["Image"] == "sha256:1"
    assert made["Env"] == [
        "A=1",
        "B=2",
        "PORT=8080",
        "K_SERVICE=thumbnail",
        "EVENTING_NAMESPACE=default",
        "K_REVISION=thumbnail-00002",
        "K_CONFIGURATION=thumbnail",
    ]
    assert "Entrypoint" not in made and "Cmd" not in made and "User" not in made
    host = made["HostConfig"]
    assert host["SecurityOpt"] == ["no-new-privileges"] and host["CapDrop"] == ["ALL"]
    assert "NET_RAW" not in host["CapAdd"] and "Memory" not in host
    assert host["LogConfig"]["Config"]["max-size"]


def test_a_command_leaves_nothing_of_the_images_own():
    made = configuration(replace(SPEC, command=("/run",)), OURS, node="n", image="i")
    assert (made["Entrypoint"], made["Cmd"]) == (["/run"], [])
    made = configuration(replace(SPEC, args=("x",)), OURS, node="n", image="i")
    assert "Entrypoint" not in made and made["Cmd"] == ["x"]


def test_labels_tell_whose_it_is():
    labels = configuration(SPEC, OURS, node="n", image="i")["Labels"]
    assert Belonging.of(labels) == OURS and labels["eventing.node"] == "n"
    assert Belonging.of({}) == Belonging("", "", "", "")
    assert container_name(OURS) != container_name(OURS)


def test_the_digest_is_of_what_the_container_is_made_of():
    assert spec_digest(SPEC) == spec_digest(replace(SPEC, env={"B": "2", "A": "1"}))
    for change in (
        {"image": "other"},
        {"env": {"A": "1"}},
        {"port": 9000},
        {"memory": 1 << 20},
        {"command": ()},
        {"probe": Probe(port=9)},
    ):
        assert spec_digest(replace(SPEC, **change)) != spec_digest(SPEC), change
    for change in (
        {"grace": 1.0},
        {"pull": "Never"},
        {"at_rest": "pause"},
        {"probe": Probe("http", path="/ready")},
        {"ready_timeout": 1.0},
    ):
        assert spec_digest(replace(SPEC, **change)) == spec_digest(SPEC), change


# -- Why an image can't be had


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("manifest for a/b:1 not found: manifest unknown", "was not found in the registry"),
        ("pull access denied for x, repository does not exist", "log in with `docker login r.io`"),
        ("unauthorized: authentication required", "may not be pulled from r.io"),
        ("dial tcp 1.2.3.4:443: connect: connection refused", "can't be reached"),
        ("lookup r.io: no such host", "can't be reached"),
        ("net/http: TLS handshake timeout", "can't be reached"),
        ("x509: certificate signed by unknown authority", "no certificate the engine trusts"),
        ("http: server gave HTTP response to HTTPS client", "no certificate the engine trusts"),
        ("invalid reference format", "is no image name"),
        ("no space left on device", "could not be pulled from r.io"),
    ],
)
def test_a_failed_pull_is_told_with_its_remedy(words, told):
    message = why_not_pulled("r.io/a/b:1", words)
    assert told in message and words in message and "r.io/a/b:1" in message


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("nginx", "docker.io"),
        ("library/nginx:1", "docker.io"),
        ("ghcr.io/a/b", "ghcr.io"),
        ("localhost/a", "localhost"),
        ("host:5000/a:1", "host:5000"),
    ],
)
def test_the_registry_is_in_the_name(image, registry):
    assert registry_of(image) == registry


# -- How it ended, and where it listens


@pytest.mark.parametrize(
    ("code", "oom", "memory", "words"),
    [
        (0, False, None, "exited with status 0"),
        (3, None, None, "exited with status 3"),
        (137, False, None, "killed by SIGKILL"),
        (137, True, 64 << 20, "killed, over its memory limit of 64 MiB (OOM)"),
        (
            137,
            None,
            1000,
            "killed by SIGKILL: most likely for its memory limit of 1000 bytes (OOM)",
        ),
        (137, True, None, "killed, over the machine's memory (OOM)"),
        (139, False, None, "killed by SIGSEGV"),
        # One of its other processes was killed for memory, and it went on.
        (1, True, 64 << 20, "exited with status 1"),
        (255, False, None, "exited with status 255"),
    ],
)
def test_an_end_is_told_in_words(code, oom, memory, words):
    assert how_it_ended(code, out_of_memory=oom, memory=memory) == words


def test_the_last_lines_are_one_line_of_bounded_length():
    lines = [f"line {number}" for number in range(20)]
    told = with_last_lines("exited", lines)
    assert told.startswith("exited; its last lines: line 10 | ") and told.endswith("line 19")
    assert with_last_lines("exited", ["", " "]) == "exited; it printed nothing"
    assert len(with_last_lines("exited", ["x" * 5000])) < 1100


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   2: 0100007F:1F90 0200007F:A1B2 01 00000000:00000000 00:00000000 00000000     0
"""
TCP6 = """  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A
   1: 00000000000000000000000001000000:0BB9 00000000000000000000000000000000:0000 0A
"""


def test_where_it_listens_is_read_and_told():
    listeners = parse_listeners(TCP) + parse_listeners(TCP6)
    assert [str(each) for each in listeners] == [
        "0.0.0.0:8080",
        "127.0.0.1:80",
        "[::]:3000",
        "[::1]:3001",
    ]
    assert not_listening(8080, listeners) == "" and not_listening(3000, listeners) == ""
    assert "it listens on 127.0.0.1:80 alone" in not_listening(80, listeners)
    assert "it listens on 3000 and 8080" in not_listening(9, listeners)
    assert not_listening(9, []) == "nothing in it listens on port 9"


# -- Its output


def frame(stream, text):
    data = text.encode()
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def test_messages_are_cut_out_wherever_the_pieces_end():
    whole = b"".join(frame(number % 2 + 1, f"message {number}") for number in range(50))
    choose = random.Random(1)
    buffer, read = bytearray(), []
    while whole:
        size = choose.randint(1, 40)
        buffer += whole[:size]
        whole = whole[size:]
        read += list(messages(buffer))
    assert read == [(n % 2 + 1, f"message {n}".encode()) for n in range(50)]
    assert not buffer


def lines_of(stream, resumption):
    resumption.begin()
    cutters = {"stdout": LineCutter(), "stderr": LineCutter()}
    return [line.decode() for batch in batches(stream, resumption, cutters) for _, line in batch]


def test_output_goes_on_where_it_was_left_whatever_the_second():
    def second(number):
        return f"2026-01-01T00:00:0{number}.25Z"

    first = [
        frame(1, f"{second(1)} a\n"),
        frame(1, f"{second(2)} b\n"),
        frame(2, f"{second(2)} c\n"),
    ]
    resumption = Resumption()
    assert lines_of(first, resumption) == ["a", "b", "c"]
    # The engine is asked for all since that second, so it tells two of them once more.
    more = [*first[1:], frame(1, f"{second(2)} d\n"), frame(1, f"{second(3)} e\n")]
    assert lines_of(more, resumption) == ["d", "e"]
    assert lines_of([frame(1, f"{second(3)} e\n")], resumption) == []


def test_a_line_in_several_messages_is_one():
    parts = [frame(1, "2026-01-01T00:00:01Z begin "), frame(1, "2026-01-01T00:00:01Z end\r\n")]
    assert lines_of(parts, Resumption()) == ["begin end"]
