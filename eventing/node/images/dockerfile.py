"""The Dockerfile of a project's image: pure, from a recipe to its text."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from eventing.node.images.dependencies import Dependencies
from eventing.node.images.ignore import OURS, SECRETS

BESIDE = ".eventing-build"
"""Folder of a build context for what is not the project's own."""
USER = 10001
"""A number, so that whoever runs the image can tell that it is not root."""
SECRET_IDS = ("pip.conf", "pip-ca.pem", "pip-client.pem")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image is made of.

    base: the image it runs on; build_base: the image its dependencies are installed on ("" = the
    same). runtime: eventing itself as pip takes it; wheel: the file's name, where it is one.
    secrets: the builder can give pip's settings to a build. check: whether the build imports the
    handler.
    """

    handler: str
    base: str
    build_base: str
    dependencies: Dependencies
    runtime: str
    wheel: str
    requirements_beside: bool
    secrets: bool = True
    check: bool = True


def dockerfile(recipe: Recipe) -> str:
    """Layers in the order in which they change: the base, the dependencies, the code."""
    return "\n".join([*_header(recipe), *_dependencies(recipe), *_code(recipe), *_image(recipe)])


def _header(recipe: Recipe) -> Iterator[str]:
    yield "# The image of a function, as `eventing build` makes it. Its context is the project's"
    yield "# folder, without what this .dockerignore names:"
    for line in (*OURS, *SECRETS):
        yield f"#     {line}"
    if recipe.wheel or recipe.requirements_beside:
        yield f"# Beside it, {BESIDE} holds what is not the project's own; `eventing build"
        yield "# --context DIR` writes both."
    yield ""


def _dependencies(recipe: Recipe) -> Iterator[str]:
    needs = recipe.dependencies
    yield f"FROM {recipe.build_base or recipe.base} AS dependencies"
    yield "RUN python3 -m venv /build && python3 -m venv --without-pip /function"
    prefix = f"{BESIDE}/requirements/" if recipe.requirements_beside else ""
    for _, path in needs.files:
        yield f"COPY {json.dumps([prefix + path, f'/build/requirements/{path}'])}"
    if recipe.wheel:
        yield f"COPY {json.dumps([f'{BESIDE}/{recipe.wheel}', f'/build/wheels/{recipe.wheel}'])}"
    runtime = f"/build/wheels/{recipe.wheel}" if recipe.wheel else recipe.runtime
    listed = list(needs.inline)
    if needs.files:
        listed += ["-r", f"/build/requirements/{needs.files[0][1]}"]
    # With hashes pip takes nothing that has none, so eventing comes after. Else it comes first: a
    # project that names it as well means the same.
    groups = [listed, [runtime]] if needs.hashed else [[runtime, *listed]]
    # Nothing is there unless the builder is told to give it.
    mounts = [f"--mount=type=secret,id={each}" for each in SECRET_IDS if recipe.secrets]
    yield "RUN " + " \\\n    ".join([*mounts, "export PIP_CONFIG_FILE=/run/secrets/pip.conf \\"])
    for group in groups:
        yield "    && /build/bin/pip --python /function/bin/python install \\"
        yield "        --no-cache-dir --no-compile --no-input --progress-bar off \\"
        yield "        --disable-pip-version-check \\"
        yield from (f"        {shlex.quote(each)} \\" for each in group)
    yield f"    && {{ {_COMPILE} /function/lib || true; }}"
    yield ""


def _code(recipe: Recipe) -> Iterator[str]:
    yield "FROM dependencies AS code"
    yield "WORKDIR /app"
    yield "COPY . ."
    yield f"RUN rm -rf {BESIDE} && chmod -R a+rX . \\"
    yield f"    && {{ {_COMPILE} . || true; }}"
    if recipe.check:
        yield "# What the handler imports has to be there."
        yield f"RUN {json.dumps([*_ENTRY, '--check', recipe.handler])}"
    yield ""


_COMPILE = "/function/bin/python -m compileall -qq --invalidation-mode unchecked-hash"
"""Bytecode that is the same whenever it is made. A file that does not compile is left to whoever
imports it: packages carry some that are for no or another Python."""

_ENTRY = ("/function/bin/python", "-m", "eventing.serve")


def _image(recipe: Recipe) -> Iterator[str]:
    yield f"FROM {recipe.base}"
    yield "COPY --from=dependencies /function /function"
    yield "ENV PATH=/function/bin:$PATH \\"
    yield "    HOME=/tmp \\"
    yield "    PYTHONUNBUFFERED=1 \\"
    yield "    PYTHONDONTWRITEBYTECODE=1"
    yield "WORKDIR /app"
    yield f"USER {USER}:{USER}"
    yield "EXPOSE 8080"
    yield "STOPSIGNAL SIGTERM"
    yield f"ENTRYPOINT {json.dumps(list(_ENTRY))}"
    yield "# Another handler of the project is another command."
    yield f"CMD {json.dumps([recipe.handler])}"
    yield "COPY --from=code /app /app"
    yield ""
