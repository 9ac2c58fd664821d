"""The container of a workload: its image, how it is started, called, bounded and found ready."""

from dataclasses import fields

import pytest

from eventing.resources import Container, Probe, Reference, Service, expanded, load_text
from eventing.resources.image import default_pull
from functions.containers import spec as launched

SERVICE = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello, namespace: shop}
spec:
  template:
    spec:
POD
      containers:
        - image: IMAGE
"""


def document(container: str = "", pod: str = "", image: str = "registry.example/hello:1") -> str:
    text = SERVICE.replace("IMAGE", image).replace("POD\n", f"      {pod}\n" if pod else "")
    return text + "".join(f"          {line}\n" for line in container.splitlines())


def service(container: str = "", pod: str = "", image: str = "registry.example/hello:1") -> Service:
    loaded = load_text(document(container, pod, image), "s.yaml")
    assert loaded.errors == []
    (resource,) = loaded.resources
    assert isinstance(resource, Service)
    return resource


def value(container: str = "", pod: str = "", image: str = "registry.example/hello:1") -> Container:
    found = service(container, pod, image).container
    assert found is not None
    return found


def complaints(container: str, pod: str = "", image: str = "registry.example/hello:1") -> list[str]:
    loaded = load_text(document(container, pod, image))
    assert loaded.resources == []
    prefix = "spec.template.spec."
    return [error.message.removeprefix(prefix) for error in loaded.errors]


def warnings(container: str, pod: str = "") -> list[str]:
    loaded = load_text(document(container, pod))
    assert loaded.errors == []
    return [warning.message for warning in loaded.warnings]


def test_an_image_is_all_it_needs() -> None:
    assert value() == Container(image="registry.example/hello:1", grace=300.0)


def test_it_says_what_the_launcher_of_containers_takes() -> None:
    told = {field.name for field in fields(Container)}
    assert told | {"env"} == {field.name for field in fields(launched.ContainerSpec)}
    assert {field.name: field.default for field in fields(Probe)} == {
        field.name: field.default for field in fields(launched.Probe)
    }


@pytest.mark.parametrize(
    ("image", "pull"),
    [
        ("hello", "Always"),
        ("registry.example:5000/hello", "Always"),
        ("hello:latest", "Always"),
        ("hello:1.2", "IfNotPresent"),
        (f"hello@sha256:{'a' * 64}", "IfNotPresent"),
        (f"hello:latest@sha256:{'a' * 64}", "IfNotPresent"),
    ],
)
def test_a_tag_that_moves_is_pulled_each_time(image: str, pull: str) -> None:
    assert default_pull(image) == pull
    assert value(image=image).pull == pull


def test_the_pull_policy_may_be_said() -> None:
    assert value("imagePullPolicy: Never").pull == "Never"
    (complaint,) = complaints("imagePullPolicy: never")
    assert complaint.startswith('containers[0].imagePullPolicy: has to be "Always", "IfNotPresent"')


@pytest.mark.parametrize(
    "image",
    ["a", "a/b/c", "host:5000/a", "[::1]:5000/a", "localhost/a_b", "a.b-c__d:v_1.0", "R.example/a"],
)
def test_names_of_images_are_those_of_the_distribution_specification(image: str) -> None:
    assert value(image=f'"{image}"').image == image


@pytest.mark.parametrize(
    ("image", "remedy"),
    [
        ("docker.io/{username}/hello", '; put your own name in place of "{username}"'),
        ("<registry/name:tag>", '; put your own name in place of "<registry/name:tag>"'),
        ("docker://hello:1", '; leave out "docker://"'),
        ("Hello:1", '; did you mean "hello:1"?'),
        ("hello:", ""),
        ("hello@sha256:12", ""),
        ("a" * 2_000, "; it is longer than 1024 characters"),
    ],
)
def test_what_is_no_name_of_an_image_is_told(image: str, remedy: str) -> None:
    (complaint,) = complaints("", image=f'"{image}"')
    assert complaint.startswith('containers[0].image: "')
    assert complaint.endswith(
        f'is no name of an image such as "registry.example/shop/thumbnail:1.2"{remedy}'
    )


def test_it_is_started_as_its_document_says() -> None:
    found = value("command: [/bin/hello]\nargs: [--name, $(NAME)]\nworkingDir: /srv")
    assert (found.command, found.args) == (("/bin/hello",), ("--name", "$(NAME)"))
    assert found.working_dir == "/srv"


def test_it_listens_on_one_port() -> None:
    assert (value().port, value().http2) == (8080, False)
    found = value("ports: [{name: h2c, containerPort: 9000, protocol: TCP}]")
    assert (found.port, found.http2) == (9000, True)
    assert value("ports: [{name: http1}]").port == 8080


@pytest.mark.parametrize(
    ("ports", "complaint"),
    [
        ("{containerPort: 1}, {containerPort: 2}", "containers[0].ports[1]: is a second port"),
        ("{containerPort: 65536}", "containers[0].ports[0].containerPort: has to be at most 65535"),
        (
            "{containerPort: 9090}",
            "containers[0].ports[0].containerPort: 9090 is a port of Knative",
        ),
        ("{name: grpc}", 'containers[0].ports[0].name: has to be "", "http1" or "h2c"'),
        ("{protocol: UDP}", 'containers[0].ports[0].protocol: has to be "TCP"'),
        ("{port: 80}", 'unknown field "port" in spec.template.spec.containers[0].ports[0]'),
    ],
)
def test_a_mistaken_port_is_told(ports: str, complaint: str) -> None:
    assert complaints(f"ports: [{ports}]")[0].startswith(complaint)


def test_limits_are_read_in_bytes_and_cores() -> None:
    found = value("resources: {limits: {memory: 256Mi, cpu: 250m}}")
    assert (found.memory, found.cpu) == (256 << 20, 0.25)
    assert value("resources: {limits: {cpu: 2}}").cpu == 2.0
    assert value("resources: {limits: {cpu: 0.5}}").cpu == 0.5
    empty = value("resources: {limits: {cpu: 0, memory: 0}}")
    assert (empty.memory, empty.cpu) == (None, None)
    assert service("resources: {limits: {memory: 1Gi}}").memory == 1 << 30


@pytest.mark.parametrize(
    ("resources", "complaint"),
    [
        ("{limits: {memory: 128m}}", 'limits.memory: "128m" is a fraction of one; did you mean'),
        ("{limits: {cpu: 1 core}}", 'limits.cpu: "1 core" is no quantity'),
        ("{limits: {cpu: 1}, requests: {cpu: 1500m}}", "requests.cpu: 1500m is above the limit"),
        ("{memory: 1Gi}", 'unknown field "memory" in spec.template.spec.containers[0].resources'),
    ],
)
def test_mistaken_limits_are_told(resources: str, complaint: str) -> None:
    (message,) = complaints(f"resources: {resources}")
    assert message.removeprefix("containers[0].resources.").startswith(complaint)


def test_requests_and_other_resources_have_no_effect() -> None:
    assert warnings("resources: {limits: {nvidia.com/gpu: 1}, requests: {memory: 1Gi}}") == [
        "nvidia.com/gpu has no effect: memory and cpu alone are limited",
        "requests has no effect: nothing is reserved, limits are held to",
    ]


def test_it_runs_as_the_user_its_contexts_say() -> None:
    pod = "securityContext: {runAsUser: 1000, runAsGroup: 2000}"
    assert value().user is None
    assert value(pod=pod).user == "1000:2000"
    assert value("securityContext: {runAsUser: 0}", pod).user == "0:2000"
    assert value("securityContext: {runAsUser: 65532}").user == "65532"
    assert value("securityContext: {readOnlyRootFilesystem: true}").read_only


def test_the_restricted_profile_has_no_effect_but_where_it_is_so_anyway() -> None:
    restricted = (
        "securityContext: {allowPrivilegeEscalation: false, seccompProfile: {type: RuntimeDefault},"
        " runAsNonRoot: true, capabilities: {drop: [ALL]}}"
    )
    assert warnings(restricted) == [
        "runAsNonRoot has no effect in this version",
        "capabilities has no effect in this version",
    ]
    assert warnings("securityContext: {runAsGroup: 5}") == [
        'runAsGroup has no effect without a "runAsUser"'
    ]
    (complaint,) = complaints("securityContext: {privileged: true}")
    assert complaint.startswith("containers[0].securityContext.privileged: a function's container")


PROBES = [
    ("{}", Probe()),
    ("{tcpSocket: {port: 0}, successThreshold: 1}", Probe()),
    ("{httpGet: {path: /healthz}}", Probe("http", "/healthz")),
    ("{httpGet: {path: ready, port: 8081}}", Probe("http", "/ready", 8081)),
    ("{httpGet: {port: http}}", Probe("http")),
    (
        "{httpGet: {httpHeaders: [{name: Host, value: a}]}}",
        Probe("http", headers=(("Host", "a"),)),
    ),
    ("{exec: {command: [cat, /ready]}}", Probe("exec", command=("cat", "/ready"))),
    (
        "{periodSeconds: 5, timeoutSeconds: 2, failureThreshold: 7, initialDelaySeconds: 3,"
        " successThreshold: 2}",
        Probe(period=5.0, timeout=2.0, initial_delay=3.0, success=2, failure=7),
    ),
    ("{grpc: {port: 50051}}", Probe()),
    ("{httpGet: {scheme: HTTPS}}", Probe()),
]


@pytest.mark.parametrize(("probe", "expected"), PROBES)
def test_it_is_ready_when_its_probe_says_so(probe: str, expected: Probe) -> None:
    assert value(f"readinessProbe: {probe}").probe == expected


@pytest.mark.parametrize(
    ("probe", "complaint"),
    [
        ("{httpGet: {}, exec: {command: [a]}}", 'exec: stands beside "httpGet"; keep one of them'),
        ("{timeoutSeconds: 1}", 'timeoutSeconds: counts beside a "periodSeconds" above 0 alone'),
        ("{failureThreshold: 1}", 'failureThreshold: counts beside a "periodSeconds"'),
        ("{httpGet: {port: web}}", 'httpGet.port: "web" is not the name of the container\'s port'),
        ("{tcpSocket: {port: '80'}}", 'tcpSocket.port: "80" is not the name of the container\'s'),
        ("{tcpSocket: {port: 70000}}", "tcpSocket.port: 70000 is no port; it is between 0 and"),
        ("{tcpSocket: {port: 1.5}}", "tcpSocket.port: has to be the number or the name of a port"),
        ("{successThreshold: 0}", "successThreshold: has to be at least 1"),
    ],
)
def test_a_mistaken_probe_is_told(probe: str, complaint: str) -> None:
    (message,) = complaints(f"readinessProbe: {probe}")
    assert message.removeprefix("containers[0].readinessProbe.").startswith(complaint)


def test_what_of_probes_has_no_effect_is_told() -> None:
    probes = (
        "readinessProbe: {grpc: {port: 5}}\n"
        "livenessProbe: {httpGet: {path: /}}\n"
        "startupProbe: {tcpSocket: {host: other.example, port: 80}}\n"
    )
    assert warnings(probes) == [
        "grpc has no effect: the container counts as ready once its port accepts",
        "livenessProbe has no effect: a container counts as alive while it runs",
        "startupProbe has no effect: the readiness probe is asked from the start",
    ]


def test_its_environment_is_values_and_references() -> None:
    found = service("""\
env:
  - {name: TARGET, value: World}
  - {name: KEY, valueFrom: {secretKeyRef: {name: s, key: k}}}
envFrom:
  - configMapRef: {name: c}
  - {prefix: DB_, secretRef: {name: s, optional: true}}
""")
    path = ("spec", "template", "spec", "containers", 0)
    key = Reference(
        "v1", "Secret", "shop", "s", (*path, "env", 1, "valueFrom", "secretKeyRef"), "k"
    )
    whole = Reference("v1", "ConfigMap", "shop", "c", (*path, "envFrom", 0, "configMapRef"))
    optional = Reference(
        "v1", "Secret", "shop", "s", (*path, "envFrom", 1, "secretRef"), optional=True
    )
    assert found.env == {"TARGET": "World", "KEY": key}
    assert found.env_from == (("", whole), ("DB_", optional))
    assert list(found.references()) == [key, whole, optional]


@pytest.mark.parametrize(
    ("container", "complaint"),
    [
        ("env: [{name: PORT, value: '1'}]", 'env[0].name: "PORT" is set by the runtime'),
        ("envFrom: [{prefix: a}]", 'envFrom[0]: needs a "configMapRef" or a "secretRef"'),
        (
            "envFrom: [{configMapRef: {name: a}, secretRef: {name: b}}]",
            'envFrom[0].secretRef: stands beside "configMapRef"; keep one of them',
        ),
        (
            "envFrom: [{prefix: 1-, configMapRef: {name: a}}]",
            'envFrom[0].prefix: "1-" is no beginning of a name of a variable',
        ),
    ],
)
def test_a_mistaken_environment_is_told(container: str, complaint: str) -> None:
    (message,) = complaints(container)
    assert message.removeprefix("containers[0].").startswith(complaint)


def test_of_a_variable_that_is_set_twice_the_last_counts() -> None:
    twice = "env: [{name: A, value: '1'}, {name: A, value: '2'}]"
    assert service(twice).env == {"A": "2"}
    assert warnings(twice) == ['name "A" was set above too; this one counts']


def test_variables_are_put_in_where_they_are_used() -> None:
    variables = {"NAME": "World", "EMPTY": ""}
    assert expanded("Hello $(NAME)$(EMPTY)!", variables) == "Hello World!"
    assert expanded("$(MISSING) $NAME $$(NAME) $", variables) == "$(MISSING) $NAME $(NAME) $"


def test_sidecars_and_what_runs_before_are_refused_with_the_place() -> None:
    text = document() + "        - image: registry.example/side:1\n"
    (error,) = load_text(text, "s.yaml").errors
    assert str(error) == (
        "s.yaml:9:11: spec.template.spec.containers[1]: is a sidecar, which this version does not "
        "run; put both into one image, or make a service of its own of it"
    )
    (message,) = complaints("", "initContainers: [{image: registry.example/first}]")
    assert message.startswith("initContainers: are not run by this version")


@pytest.mark.parametrize(
    "source", ["configMap: {name: c}", "secret: {secretName: s}", "hostPath: {}"]
)
def test_a_volume_that_the_container_would_miss_is_refused(source: str) -> None:
    pod = f"volumes: [{{name: v, {source}}}]"
    (message,) = complaints("volumeMounts: [{name: v, mountPath: /etc/v}]", pod)
    assert message.startswith(
        f"volumes[0].{source.partition(':')[0]}: volumes of this kind are not"
    )


def test_an_empty_volume_is_a_folder_of_the_image() -> None:
    pod, mount = "volumes: [{name: v, emptyDir: {}}]", "volumeMounts: [{name: v, mountPath: /tmp}]"
    (warning,) = warnings(mount, pod)
    assert warning.startswith("emptyDir is no volume here")
    read_only = "\nsecurityContext: {readOnlyRootFilesystem: true}"
    (message,) = complaints(mount + read_only, pod)
    assert message.startswith("volumes[0].emptyDir: is not mounted by this version")


@pytest.mark.parametrize(
    ("container", "pod", "complaint"),
    [
        (
            "volumeMounts: [{name: v, mountPath: /v}]",
            "",
            "containers[0].volumeMounts[0].name: there",
        ),
        ("", "volumes: [{name: v}]", 'volumes[0]: needs a source, such as "emptyDir: {}"'),
        (
            "",
            "volumes: [{name: v, emptyDir: {}, secret: {}}]",
            'volumes[0].secret: stands beside "emptyDir"',
        ),
        ("volumeMounts: [{name: v, mountPath: v}]", "", "containers[0].volumeMounts[0].mountPath"),
    ],
)
def test_mistaken_volumes_are_told(container: str, pod: str, complaint: str) -> None:
    assert complaints(container, pod)[0].startswith(complaint)


def test_what_a_cluster_schedules_by_has_no_effect() -> None:
    pod = """\
serviceAccountName: builder
      enableServiceLinks: false
      automountServiceAccountToken: false
      imagePullSecrets: [{name: registry}]
      nodeSelector: {disk: ssd}"""
    assert warnings("terminationMessagePath: /dev/log", pod) == [
        "serviceAccountName has no effect: there are no service accounts here",
        "imagePullSecrets has no effect: the container engine's own credentials are used",
        "nodeSelector has no effect in this version",
        "terminationMessagePath has no effect: the last lines of its output are told",
    ]


def test_an_unknown_field_is_told_with_the_nearest_name() -> None:
    (message,) = complaints("imagePullpolicy: Always")
    assert message == (
        'unknown field "imagePullpolicy" in spec.template.spec.containers[0]; did you mean '
        '"imagePullPolicy"?'
    )
