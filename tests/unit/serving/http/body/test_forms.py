import base64
import codecs
import json
import tracemalloc

import pytest

from serving.errors import RequestError
from serving.http.body.forms import images_of
from tests.unit.serving.images import encode, picture

IMAGE = bytes(range(256)) * 3 + b"?"
TEXT = base64.b64encode(IMAGE).decode()
JSON = "application/json"


def in_json(text: str, field: str = "image") -> bytes:
    return json.dumps({field: text}).encode()


def refusal(body: bytes, content_type: str = JSON, field: str = "image") -> RequestError:
    with pytest.raises(RequestError) as refused:
        images_of(body, content_type, field)
    return refused.value


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("="),
        base64.encodebytes(IMAGE).decode(),
        "\r\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)) + "\r\n",
        "\n".join(f"    {TEXT[at : at + 64]}" for at in range(0, len(TEXT), 64)),
        base64.urlsafe_b64encode(IMAGE).decode(),
        base64.urlsafe_b64encode(IMAGE).decode().rstrip("="),
        f"data:image/jpeg;base64,{TEXT}",
        f"\n DATA:image/jpeg;name=leaf.jpg;BASE64,{TEXT}",
        f"data:;base64,{base64.urlsafe_b64encode(IMAGE).decode()}",
    ],
)
@pytest.mark.parametrize("content_type", [JSON, "Application/JSON; charset=utf-8"])
def test_base64_is_read_as_any_language_writes_it(text: str, content_type: str) -> None:
    assert images_of(in_json(text), content_type, "image") == [IMAGE]


def test_json_may_be_spaced_escaped_and_marked_as_windows_does() -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in TEXT)
    body = codecs.BOM_UTF8 + f'\r\n {{ "image" :\t"{escaped}" }} \n'.encode()
    assert images_of(body, JSON, "image") == [IMAGE]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no base64!", "The image is not in base64."),
        (TEXT[:-5] + "=" + TEXT[-4:], "The image is not in base64."),
        (TEXT[:41], "The image is not in base64."),
        (TEXT + "ü", "The image is not in base64."),
        ("\u00a0" + TEXT, "The image is not in base64."),
        ("file:///etc/passwd", "The image is not in base64."),
        ("https://example.com/leaf.jpg", "The image is not in base64."),
        ("data:image/jpeg;base64", "The image is not in base64."),
        ("data:image/svg+xml,%3Csvg%3E", "The image is a data: URL without ';base64'; send its bytes in base64."),
        ("data:image/jpeg;base64,", "The image is empty."),
        ("====", "The image is empty."),
        (" \n", "The image is empty."),
    ],
)
def test_what_is_no_base64_is_told_as_such(text: str, says: str) -> None:
    refused = refusal(in_json(text))
    assert (refused.status, refused.message) == (422, says)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "Invalid JSON"),
        (b'{"image": "AAAA"', "Invalid JSON"),
        (in_json(TEXT).decode().encode("utf-16"), "Invalid JSON"),
        (encode(picture()), "Invalid JSON"),
        (b'{"image": "\xff\xfe"}', "Invalid JSON"),
        (b"[" * 100_000, "Invalid JSON"),
        (b"[1]", "should be an object"),
        (b"{}", "The JSON body has no 'image'."),
        (b'{"image": null}', "'image': Input should be a valid string"),
        (b'{"image": ["AAAA"]}', "'image': Input should be a valid string"),
        (b'{"image": 1%s}' % (b"1" * 100_000), "Invalid JSON"),
        (b'{"image": "AAAA", "confidence": 0.5}', "may not have 'confidence'; parameters stand in the address"),
    ],
)
def test_a_json_body_that_cannot_be_used_is_told_why_in_one_sentence(body: bytes, says: str) -> None:
    refused = refusal(body)
    assert refused.status == 422
    assert says in refused.message
    assert refused.message.endswith(".")


def test_a_batch_in_json_is_a_list_with_something_in_it() -> None:
    assert images_of(json.dumps({"images": [TEXT, TEXT]}).encode(), JSON, "images") == [IMAGE, IMAGE]
    assert "at least 1 item" in refusal(b'{"images": []}', field="images").message
    assert "valid array" in refusal(in_json(TEXT, "images"), field="images").message
    assert refusal(in_json(TEXT), field="images").message == "The JSON body has no 'images'."
    assert refusal(json.dumps({"images": [TEXT, "?"]}).encode(), JSON, "images").message.startswith("Image 2 of 2")


@pytest.mark.parametrize("value", [b"1", b"[]", b"{}", b'"A"', b"null", b"[1,1]"])
def test_a_body_of_a_million_values_is_refused_before_it_is_read_as_json(value: bytes) -> None:
    """Each would have become an object, and an error, while every other request waits."""
    body = b'{"images": [%s]}' % b",".join([value] * 200_000)
    tracemalloc.start()
    try:
        refused = refusal(body, field="images")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert refused.message == "The JSON body holds more than 1,000 values; send 'images' and nothing else."


def test_a_space_after_every_letter_costs_no_more_memory_than_the_letters() -> None:
    body = in_json(" ".join("AB" * 400_000))
    tracemalloc.start()
    try:
        [image] = images_of(body, JSON, "image")
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body)
    finally:
        tracemalloc.stop()
    assert len(image) == 600_000


LONG = "k" * 2000
FORM = "multipart/form-data; boundary=B"


def part(name: str, content: str = "x") -> str:
    return f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{content}\r\n'


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (json.dumps({"image": "AAAA", LONG * 100: 1}), JSON),
        (part(LONG) + "--B--\r\n", FORM),
        (part("image") + part(LONG) + "--B--\r\n", FORM),
    ],
)
def test_a_name_as_long_as_a_body_does_not_come_back_whole(body: str, content_type: str) -> None:
    refused = refusal(body.encode(), content_type)
    assert "kkk'..." in refused.message
    assert len(refused.message) < 250


@pytest.mark.parametrize("name", ["confidence", "conf", "photo", ""])
def test_a_field_that_nobody_reads_is_refused_and_not_ignored(name: str) -> None:
    """Who sends the confidence beside the image, as other servers want it, would get boxes by another one."""
    refused = refusal(f"{part('image')}{part(name, '0.9')}--B--\r\n".encode(), FORM)
    assert refused.status == 422
    assert refused.message == (
        f"The form may not have a field named {name!r}; parameters stand in the address, as in ?confidence=0.25."
    )


PHOTO = encode(picture())


@pytest.mark.parametrize(
    "content_type",
    [
        "image/jpeg",
        "IMAGE/PNG",
        "image/x-anything; q=1",
        "application/octet-stream",
        "",
        "application/x-www-form-urlencoded",
    ],
)
def test_a_bare_file_is_taken_with_the_type_of_an_image_or_with_none_chosen(content_type: str) -> None:
    assert images_of(PHOTO, content_type, "image") == [PHOTO]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"image=AAAA", "application/x-www-form-urlencoded"),
        (b"", "application/x-www-form-urlencoded"),
        (b"", ""),
        (b"not an image", ""),
        (in_json(TEXT), ""),
        (PHOTO, "text/plain"),
        (PHOTO, "application/xml"),
        (PHOTO, "multipart/mixed; boundary=B"),
        (in_json(TEXT), "text/json"),
    ],
)
def test_any_other_body_is_refused_with_the_three_forms_that_are_taken(body: bytes, content_type: str) -> None:
    refused = refusal(body, content_type)
    assert refused.status == 415
    for form in ("multipart/form-data", "'image'", "image/jpeg", "application/json"):
        assert form in refused.message


def test_a_photo_of_an_iphone_without_a_type_is_told_the_phones_setting_by_who_reads_it() -> None:
    heic = b"\x00\x00\x00\x18ftypheic" + bytes(40)
    assert images_of(heic, "application/x-www-form-urlencoded", "image") == [heic]
