"""The container of a function's Service: image, port, limits, variables."""

from eventing.node.knative.manifest import Document, Notes
from eventing.node.knative.scope import Scope
from eventing.node.wiring import Discovered
from eventing.resources import Environment, EnvironmentFrom, Function, Reference
from eventing.resources.env import RESERVED

_RESERVED_PORTS = (8008, 8012, 8013, 8022, 9090, 9091)
_NO_CONTEXT = ("procMount", "seLinuxOptions", "appArmorProfile", "windowsOptions")
"""Of a security context: what Knative's Service has not."""


def container_of_code(found: Discovered, image: str) -> Document:
    """Of a function that no document names."""
    container: Document = {"image": image}
    if found.env:
        container["env"] = [{"name": name, "value": text} for name, text in found.env.items()]
    if found.memory is not None:
        container["resources"] = {"limits": {"memory": _quantity(found.memory)}}
    return container


def declared_container(
    function: Function, spec: Document, found: Discovered | None, scope: Scope, notes: Notes
) -> Document:
    """Of a Function, which wrote its `spec` so; `found` is its code."""
    image = scope.options.image(function.namespace, function.name) or function.spec.image
    if image is None:
        image = scope.options.built_image(function.namespace, function.name)
    container: Document = {"image": image}
    for name in ("imagePullPolicy", "command", "args", "workingDir"):
        if name in spec:
            container[name] = spec[name]
    port: Document = {}
    if function.spec.http2:
        port["name"] = "h2c"
    if function.spec.port is not None:
        port["containerPort"] = function.spec.port
        if function.spec.port in _RESERVED_PORTS:
            notes.add(
                function,
                ("spec", "port"),
                f"{function.spec.port} is a port of Knative's own on a cluster, which refuses it",
                "choose another",
            )
    if port:
        container["ports"] = [port]
    limits = dict(spec.get("resources", {}))
    if found is not None and found.memory is not None:
        limits.setdefault("memory", _quantity(found.memory))
    if limits:
        container["resources"] = {"limits": limits}
    if "readinessProbe" in spec:
        container["readinessProbe"] = spec["readinessProbe"]
    if "securityContext" in spec:
        container["securityContext"] = _security_context(function, spec["securityContext"], notes)
    variables: Environment = {**(found.env if found else {}), **function.env}
    _add_environment(container, variables, function.env_from, function, notes)
    return container


def _security_context(function: Function, written: Document, notes: Notes) -> Document:
    for name in _NO_CONTEXT:
        if name in written:
            notes.add(
                function,
                ("spec", "securityContext", name),
                f"{name} is left out: a cluster's Service has no such field",
                "set it for the namespace, by the cluster's own means",
            )
    return {name: value for name, value in written.items() if name not in _NO_CONTEXT}


def _add_environment(
    container: Document,
    variables: Environment,
    whole: EnvironmentFrom,
    function: Function,
    notes: Notes,
) -> None:
    env = []
    for name, value in variables.items():
        if name in RESERVED:
            notes.add(
                function,
                ("spec", "env"),
                f"the variable {name} is left out: a cluster sets it",
                "give it another name",
            )
            continue
        env.append({"name": name} | ({"value": value} if isinstance(value, str) else _from(value)))
    if env:
        container["env"] = env
    if whole:
        container["envFrom"] = [_whole(prefix, reference) for prefix, reference in whole]


def _from(reference: Reference) -> Document:
    field = "secretKeyRef" if reference.kind == "Secret" else "configMapKeyRef"
    selector: Document = {"name": reference.name, "key": reference.key}
    if reference.optional:
        selector["optional"] = True
    return {"valueFrom": {field: selector}}


def _whole(prefix: str, reference: Reference) -> Document:
    field = "secretRef" if reference.kind == "Secret" else "configMapRef"
    written: Document = {"name": reference.name}
    if reference.optional:
        written["optional"] = True
    return ({"prefix": prefix} if prefix else {}) | {field: written}


def _quantity(count: int) -> str:
    for power, unit in ((4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        if count and count % 1024**power == 0:
            return f"{count // 1024**power}{unit}"
    return str(count)
