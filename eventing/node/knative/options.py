"""What the user decides of an export: images, classes of brokers, the namespace, secrets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from eventing.errors import UserError
from eventing.resources.fields import LabelName
from eventing.resources.image import Image
from eventing.resources.nearest import suggestion

BrokerClass = Literal["MTChannelBasedBroker", "Kafka"]
DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Options:
    """`images`: by function, as `name` or `namespace/name`. `registry`: where the image of a
    function lies that `images` does not name. `broker_class`: of brokers that name none which a
    cluster has. `namespace`: of what stands in the namespace default here; None = it is left to
    whoever applies it. `with_secrets`: the values of Secrets are written out."""

    images: Mapping[str, str] = field(default_factory=dict)
    registry: str | None = None
    broker_class: BrokerClass = "MTChannelBasedBroker"
    namespace: str | None = None
    with_secrets: bool = False

    def image(self, namespace: str, name: str) -> str | None:
        """What the user says it is."""
        for key in (f"{namespace}/{name}", name if namespace == DEFAULT_NAMESPACE else ""):
            if key in self.images:
                return self.images[key]
        return None

    def built_image(self, namespace: str, name: str) -> str | None:
        """Of a function that is code here: as the user says, or the one of its name."""
        said = self.image(namespace, name)
        if said is None and self.registry is not None:
            return f"{self.registry}/{name}"
        return said


def parse_images(given: Iterable[str]) -> dict[str, str]:
    """`function=image` texts as a mapping. Raises UserError."""
    images: dict[str, str] = {}
    for text in given:
        function, equals, image = text.partition("=")
        if not equals or not function or not image:
            raise UserError(
                f"--image {text!r} is not FUNCTION=IMAGE, as in "
                "thumbnail=registry.example/thumbnail:1"
            )
        complaint = _image_complaint(image)
        if complaint:
            raise UserError(f"--image {function}: {complaint}")
        if images.setdefault(function, image) != image:
            raise UserError(f"--image names two images for {function}; keep one of them")
    return images


def check_registry(registry: str) -> str:
    """It without a slash at its end. Raises UserError."""
    name = registry.rstrip("/")
    complaint = _image_complaint(f"{name}/function")
    if complaint:
        raise UserError(
            f"--registry {registry!r} is no place for images, as registry.example/shop is"
        )
    return name


def check_namespace(name: str) -> str:
    """It, where it is a name. Raises UserError."""
    try:
        return _NAMESPACES.validate_python(name)
    except ValidationError as error:
        raise UserError(f"--namespace {error.errors()[0]['ctx']['error']}") from None


def check_functions(images: Mapping[str, str], known: Iterable[tuple[str, str]]) -> None:
    """Raises UserError where an image is for a function that there is not; `known` are namespaces
    and names."""
    names = {f"{namespace}/{name}" for namespace, name in known}
    shown = sorted(name.removeprefix(f"{DEFAULT_NAMESPACE}/") for name in names)
    for function in images:
        if function not in names and f"{DEFAULT_NAMESPACE}/{function}" not in names:
            hint = suggestion(function, shown) if shown else "there are no functions at all"
            raise UserError(f"--image {function}: there is no such function; {hint}")


_IMAGES: TypeAdapter[str] = TypeAdapter(Image)
_NAMESPACES: TypeAdapter[str] = TypeAdapter(LabelName)


def _image_complaint(image: str) -> str:
    """What is wrong with the name of an image; empty where nothing is."""
    try:
        _IMAGES.validate_python(image)
    except ValidationError as error:
        return str(error.errors()[0]["ctx"]["error"])
    return ""
