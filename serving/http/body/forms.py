"""The forms in which clients send images: multipart, the bare file, or JSON with base64."""

import base64
import codecs
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.multipart import parse_options_header

from serving.errors import invalid_request, quoted, unsupported_media
from serving.http.body.multipart import images_in
from serving.inference.formats import SUPPORTED, is_media

BINARY = b"application/octet-stream"
IMAGE = b"image/"
JSON = b"application/json"
FORM = b"multipart/form-data"
UNCHOSEN = frozenset({b"", b"application/x-www-form-urlencoded"})
"""What clients send whose user chose no type: curl, axios and PowerShell the second, browsers and requests none."""

MAX_VALUES = 1000
"""Commas in a JSON body, which bound the values in it. 16 MiB of `1,` became 7 GiB of errors in four minutes, in which
nothing else ran; a batch has at most 256 images, and a data: URL one comma more."""

DATA_URL = re.compile(r"\s{0,100}data:([^,]{0,300}),", re.IGNORECASE)
SPACES = b" \t\r\n\f\v"
TO_STANDARD = bytes.maketrans(b"-_", b"+/")

Base64 = Annotated[
    str,
    Field(
        min_length=1,
        description="An image in base64 (RFC 4648, either alphabet); a data: URL will do.",
        json_schema_extra={"format": "byte", "contentEncoding": "base64"},
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
    if kind in UNCHOSEN and is_media(body):
        return [body]
    raise unsupported_media(
        f"Send the image as multipart/form-data in a field named {field!r}, as a bare file with the type image/jpeg or "
        "the like, or in base64 as application/json."
    )


def described(field: str) -> dict[str, Any]:
    """The OpenAPI description of a body with images, in all three forms.

    Args:
        field: `image` or `images`.
    """
    file = {"type": "string", "format": "binary", "description": f"An image: {SUPPORTED}."}
    value: dict[str, Any] = file if field == "image" else {"type": "array", "items": file, "minItems": 1}
    form = {"type": "object", "required": [field], "properties": {field: value}, "additionalProperties": False}
    model = OneImage if field == "image" else Images
    content = {
        "multipart/form-data": {"schema": form},
        **{f"image/{kind}": {"schema": file} for kind in ("jpeg", "png", "webp")},
        "application/octet-stream": {"schema": file},
        "application/json": {"schema": model.model_json_schema()},
    }
    return {"requestBody": {"required": True, "content": content}}


def _in_json(body: bytes, field: str) -> list[bytes]:
    if body.count(b",") > MAX_VALUES:
        raise invalid_request(f"The JSON body holds more than {MAX_VALUES:,} values; send {field!r} and nothing else.")
    model = OneImage if field == "image" else Images
    try:
        read = model.model_validate_json(body.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise invalid_request(_what_is_wrong(first["type"], first["loc"], first["msg"])) from None
    texts = [read.image] if isinstance(read, OneImage) else read.images
    images = [_decoded(text, number, len(texts)) for number, text in enumerate(texts)]
    # What is left in a sound body are the quotes around one name and around each text, in which there can be none.
    if body.count(b'"') - body.count(b'\\"') != 2 + 2 * len(texts):
        raise invalid_request(f"The JSON body has {field!r} more than once; give it once.")
    return images


def _what_is_wrong(kind: str, place: tuple[int | str, ...], message: str) -> str:
    """A sentence about one of pydantic's errors; names are the client's, and cut."""
    where = quoted(".".join(map(str, place)))
    if kind == "missing":
        return f"The JSON body has no {where}."
    if kind == "extra_forbidden":
        return f"The JSON body may not have {where}; parameters stand in the address, as in ?confidence=0.25."
    return f"The JSON body cannot be used: {f'{where}: ' if place else ''}{message}."


def _decoded(text: str, number: int, count: int) -> bytes:
    """The bytes of a base64 text in either alphabet, padded or not, which tools break into lines."""
    which = "The image" if count == 1 else f"Image {number + 1} of {count}"
    data_url = DATA_URL.match(text)
    if data_url:
        if not data_url[1].lower().rstrip().endswith(";base64"):
            raise invalid_request(f"{which} is a data: URL without ';base64'; send its bytes in base64.")
        text = text[data_url.end() :]
    try:
        # Not by split and join: a space between every two letters makes ten times the memory of pieces.
        standard = text.encode("ascii").translate(TO_STANDARD, SPACES).rstrip(b"=")
        data = base64.b64decode(standard + b"=" * (-len(standard) % 4), validate=True)
    except ValueError:  # of which both UnicodeEncodeError and binascii.Error are
        raise invalid_request(f"{which} is not in base64.") from None
    if not data:
        raise invalid_request(f"{which} is empty.")
    return data
