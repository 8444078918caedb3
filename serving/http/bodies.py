"""The forms in which clients send images: a form, the bare file, or JSON with base64."""

import base64
import binascii
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.multipart import parse_options_header

from serving.errors import RequestError, invalid_request, unsupported_media
from serving.http.multipart import images_in
from serving.inference.formats import SUPPORTED

BINARY = b"application/octet-stream"
IMAGE = b"image/"
JSON = b"application/json"
FORM = b"multipart/form-data"

Base64 = Annotated[
    str,
    Field(
        min_length=1,
        description="An image in base64 (RFC 4648, either alphabet); a data: URL will do.",
        json_schema_extra={"format": "byte"},
    ),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OneImage(_Body):
    """The JSON body of a request about one image."""

    image: Base64


class Images(_Body):
    """The JSON body of a request about several images."""

    images: list[Base64] = Field(min_length=1)


def images_of(body: bytes, content_type: str, field: str) -> list[bytes]:
    """Returns the images of a body, in order, at least one.

    Args:
        body: the whole body.
        content_type: as the client gave it.
        field: how the images are called in a form and in JSON, `image` or `images`.

    Raises:
        RequestError: 415 if the body is in none of the three forms, 422 if it is broken or holds no image.
    """
    kind, _ = parse_options_header(content_type)
    if kind == FORM:
        return images_in(body, content_type, field)
    if kind == JSON:
        return _in_json(body, field)
    if kind == BINARY or kind.startswith(IMAGE):
        if not body:
            raise invalid_request("The body is empty; send the image's file as it is.")
        return [body]
    raise unsupported_media(
        f"Send the image as multipart/form-data in a field named {field!r}, as a bare file with the type image/jpeg or "
        f"the like, or in base64 as JSON."
    )


def described(field: str) -> dict[str, Any]:
    """The OpenAPI description of a body with images, in all three forms.

    Args:
        field: `image` or `images`.
    """
    file = {"type": "string", "format": "binary", "description": f"An image: {SUPPORTED}."}
    value: dict[str, Any] = file if field == "image" else {"type": "array", "items": file, "minItems": 1}
    form = {"type": "object", "required": [field], "properties": {field: value}}
    model = OneImage if field == "image" else Images
    content = {
        "multipart/form-data": {"schema": form},
        "image/jpeg": {"schema": file},
        "application/octet-stream": {"schema": file},
        "application/json": {"schema": model.model_json_schema()},
    }
    return {"requestBody": {"required": True, "content": content}}


def _in_json(body: bytes, field: str) -> list[bytes]:
    model = OneImage if field == "image" else Images
    try:
        read = model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise invalid_request(f"The JSON body cannot be used: {where}: {first['msg']}.") from None
    texts = [read.image] if isinstance(read, OneImage) else read.images
    return [_decoded(text, number, len(texts)) for number, text in enumerate(texts)]


def _decoded(text: str, number: int, count: int) -> bytes:
    """The bytes of a base64 text, which tools break into lines."""
    data = text.partition(",")[2] if text.startswith("data:") else text
    standard = "".join(data.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _no_base64(number, count) from None


def _no_base64(number: int, count: int) -> RequestError:
    which = "The image" if count == 1 else f"Image {number + 1} of {count}"
    return invalid_request(f"{which} is not in base64.")
