"""What pydantic finds wrong with a document, in words for its author."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from eventing.resources.model import Faults, Model
from eventing.resources.nearest import alike, nearest
from eventing.resources.nodes import Node, ScalarNode, find
from eventing.resources.place import Path, dotted

_SECRET_FIELDS = ("data", "stringData")
_STRUCTURES = {
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
}


@dataclass(frozen=True, slots=True)
class Complaint:
    """`path` is where; `of_key` says that the field's name is meant, not its value."""

    path: Path
    message: str
    of_key: bool = False


def complaints(error: ValidationError, model: type[Model], node: Node) -> Iterator[Complaint]:
    """Every mistake that pydantic found in the document at `node`, read as `model`."""
    for detail in error.errors(include_url=False, include_input=False):
        path: Path = detail["loc"]
        if path and path[-1] == "[key]":
            message = str(detail.get("ctx", {}).get("error", detail["msg"]))
            yield Complaint(path[:-1], f"{dotted(path[:-2])}: {message}", of_key=True)
        elif detail["type"] == "extra_forbidden":
            yield Complaint(path, _unknown(model, path), of_key=True)
        elif detail["type"] == "missing":
            where = dotted(path[:-1])
            message = f'"{path[-1]}" is missing' + (f" in {where}" if where else "")
            yield Complaint(path[:-1], message, of_key=True)
        elif detail["type"] == "value_error":
            yield from _own(detail["ctx"]["error"], path)
        else:
            value, _, _ = find(node, path)
            is_secret = model.__name__ == "Secret" and path[0] in _SECRET_FIELDS
            message = _type_message(detail, value, is_secret)
            yield Complaint(path, f"{dotted(path)}: {message}")


def _own(error: ValueError, path: Path) -> Iterator[Complaint]:
    if not isinstance(error, Faults):
        yield Complaint(path, f"{dotted(path)}: {error}")
        return
    for below, message in error.faults:
        yield Complaint(path + below, f"{dotted(path + below)}: {message}", of_key=not below)


def _type_message(detail: ErrorDetails, node: Node, is_secret: bool) -> str:
    kind = detail["type"]
    context: dict[str, Any] = detail.get("ctx", {})
    found = _described(node, is_secret)
    if kind == "string_type":
        if not isinstance(node, ScalarNode):
            return f"has to be text, not {found}"
        if node.value is None:
            return 'is empty; write "" if that is meant'
        remedy = "" if is_secret else f': "{node.text}"'
        return f"has to be text, not {found}; write it in quotes{remedy}"
    if kind in _STRUCTURES:
        return f"has to be {_STRUCTURES[kind]}, not {found}"
    if kind in ("int_type", "float_type", "int_from_float"):
        return f"has to be a {'whole ' if kind.startswith('int') else ''}number, not {found}"
    if kind == "bool_type":
        return f"has to be true or false, not {found}"
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", '"')
        return f"has to be {expected}, not {found}"
    if kind == "greater_than_equal":
        return f"has to be at least {context['ge']:g}"
    if kind == "less_than_equal":
        return f"has to be at most {context['le']:g}"
    if kind in ("string_too_short", "too_short"):
        return "is empty"
    return detail["msg"]


def _described(node: Node, is_secret: bool) -> str:
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    if node.value is None:
        return "empty"
    kind = "number"
    if isinstance(node.value, str):
        kind = "text"
    elif isinstance(node.value, bool):
        kind = "boolean"
    if is_secret or not isinstance(node, ScalarNode):
        return f"a {kind}"
    shown = node.text if len(node.text) <= 60 else f"{node.text[:60]}…"
    return f'the {kind} "{shown}"' if kind == "text" else f"the {kind} {shown}"


def _unknown(model: type[Model], path: Path) -> str:
    name = str(path[-1])
    owner = _model_at(model, path[:-1])
    where = f" in {dotted(path[:-1])}" if path[:-1] else ""
    message = f'unknown field "{name}"{where}'
    known = _fields(owner) if owner is not None else []
    near = nearest(name, known)
    if near is not None:
        return f'{message}; did you mean "{near}"?'
    home = next(_homes(model, name), None)
    if home is not None:
        return f"{message}; did you mean {dotted(home)}?"
    return f"{message}; known are: {', '.join(known)}"


def _fields(model: type[Model]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items() if not field.exclude]


def _models_in(annotation: Any) -> Iterator[tuple[type[Model], Path]]:
    """The models an annotation holds, each with the steps through lists and mappings to it."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation, ()
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType, Annotated):
        for argument in arguments:
            yield from _models_in(argument)
    elif origin is tuple:
        for model, steps in _models_in(arguments[0]):
            yield model, (0, *steps)
    elif origin is dict:
        for model, steps in _models_in(arguments[1]):
            yield model, ("NAME", *steps)


def _model_at(model: type[Model], path: Path) -> type[Model] | None:
    """The model that reads what stands at `path` of a document read as `model`."""
    while path:
        field = next((f for f in model.model_fields.values() if f.alias == path[0]), None)
        found = next(_models_in(field.annotation), None) if field is not None else None
        if found is None:
            return None
        model, steps = found
        path = path[1 + len(steps) :]
    return model


def _homes(
    model: type[Model], name: str, path: Path = (), seen: frozenset[type[Model]] = frozenset()
) -> Iterator[Path]:
    """Where in the whole document a field of this name would be known, the nearest first."""
    if model in seen:
        return
    for field_name in _fields(model):
        if alike(field_name, name):
            yield (*path, field_name)
    for field in model.model_fields.values():
        for below, steps in _models_in(field.annotation):
            alias = field.alias or ""
            yield from _homes(below, name, (*path, alias, *steps), seen | {model})
