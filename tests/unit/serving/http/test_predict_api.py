import asyncio
import base64
import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from serving.http import predictions
from serving.http.body.forms import images_of
from serving.http.schemas import BatchResponse, ErrorResponse, PredictResponse
from tests.unit.serving.clients import DIGEST, build_replica, client_of, post
from tests.unit.serving.detectors import detector, write_model
from tests.unit.serving.images import encode, noise, picture, rotated

RECTANGLE = (32.0, 16.0, 64.0, 48.0)


@pytest.fixture(scope="module", params=[True, False], ids=["end-to-end head", "raw head"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, detector(end_to_end=request.param))
    with client_of(build_replica(folder)) as running:
        yield running


def union_of_boxes(answer: PredictResponse) -> tuple[float, float, float, float]:
    boxes = [detection.box for detection in answer.detections]
    lows, highs = [min(box[i] for box in boxes) for i in (0, 1)], [max(box[i] for box in boxes) for i in (2, 3)]
    return (*lows, *highs)  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_painted_rectangle_is_found_where_it_was_painted(client: TestClient, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    answer = PredictResponse.model_validate_json(post(client, encode(picture(), kind, **options)).content)
    assert (answer.image.width, answer.image.height) == (128, 96)
    assert union_of_boxes(answer) == pytest.approx(RECTANGLE, abs=0.1)
    assert {detection.class_name for detection in answer.detections} == {"red"}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_refer_to_the_image_as_it_is_displayed(client: TestClient, orientation: int) -> None:
    answer = PredictResponse.model_validate_json(post(client, rotated(picture(), orientation)).content)
    assert (answer.image.width, answer.image.height) == (128, 96)
    assert union_of_boxes(answer) == pytest.approx(RECTANGLE, abs=0.1)


def test_confidence_and_max_detections_limit_what_is_returned(client: TestClient) -> None:
    image = encode(noise(64, 64), "PNG")
    all_of_them = post(client, image, params={"confidence": 0}).json()["detections"]
    scores = [detection["score"] for detection in all_of_them]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) > 10
    limit = scores[5]
    above = post(client, image, params={"confidence": limit}).json()["detections"]
    assert 0 < len(above) <= 5 + 1
    assert post(client, image, params={"confidence": 0, "max_detections": 3}).json()["detections"] == all_of_them[:3]


@pytest.mark.parametrize(
    ("path", "params"), [("/predict", {}), ("/predict", {"confidence": "high"}), ("/nowhere", {}), ("/ready", {})]
)
def test_every_response_says_who_gave_it(client: TestClient, path: str, params: dict[str, str]) -> None:
    for answer in (client.get(path, params=params), client.post(path, params=params)):
        assert answer.headers["X-Model-Version"] == "7"
        assert answer.headers["X-Image-Digest"] == DIGEST
        assert answer.headers["X-Colour"] == "blue"
        assert answer.headers["X-Environment"] == "production"
        assert answer.headers["X-Request-Id"]


def test_a_clients_request_id_is_kept_unless_it_could_do_harm(client: TestClient) -> None:
    image = encode(picture())
    kept = post(client, image, headers={"X-Request-Id": "phone-17"})
    assert kept.headers["X-Request-Id"] == kept.json()["request_id"] == "phone-17"
    replaced = post(client, image, headers={"X-Request-Id": "a b\tc"})
    assert replaced.headers["X-Request-Id"] == replaced.json()["request_id"] != "a b\tc"


def multipart(*lines: bytes) -> dict[str, Any]:
    return {"content": b"\r\n".join(lines), "headers": {"content-type": "multipart/form-data; boundary=B"}}


PART = b'Content-Disposition: form-data; name="image"'


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"files": {"image": b"%PDF-1.7" + bytes(50)}}, 415, "unsupported_media_type"),
        ({"files": {"image": b"not an image at all"}}, 415, "unsupported_media_type"),
        ({"content": b"{}", "headers": {"content-type": "application/json"}}, 422, "invalid_request"),
        ({"json": {"image": "no base64!"}}, 422, "invalid_request"),
        ({"json": {"image": ""}}, 422, "invalid_request"),
        ({"json": {"image": 7}}, 422, "invalid_request"),
        ({"json": {"image": "AAAA", "photo": "AAAA"}}, 422, "invalid_request"),
        ({"json": ["AAAA"]}, 422, "invalid_request"),
        ({"json": {"image": "bm8gaW1hZ2U="}}, 415, "unsupported_media_type"),
        ({"content": b"", "headers": {"content-type": "image/jpeg"}}, 422, "invalid_request"),
        ({"content": b"image=x", "headers": {"content-type": "text/plain"}}, 415, "unsupported_media_type"),
        ({"data": {"image": "x"}}, 415, "unsupported_media_type"),
        ({"files": {"image": encode(picture())}, "params": {"confidance": 0.5}}, 422, "invalid_request"),
        ({"files": {"image": encode(picture())}, "params": {"format": "xml"}}, 422, "invalid_request"),
        ({"files": {"image": encode(picture())}, "data": {"confidence": "0.5"}}, 422, "invalid_request"),
        ({"json": {"image": "AAAA" * 6 * 1024 * 1024}}, 413, "too_large"),
        ({"content": encode(picture()), "headers": {"content-encoding": "gzip"}}, 415, "unsupported_media_type"),
        ({"files": {"image": encode(picture())[:700]}}, 422, "corrupt_image"),
        ({"files": {"image": encode(picture(), "PNG")[:100]}}, 422, "corrupt_image"),
        ({"files": {"image": encode(picture(), "WEBP")[:40]}}, 422, "corrupt_image"),
        ({"files": {"image": b""}}, 422, "corrupt_image"),
        ({"files": {"photo": encode(picture())}}, 422, "invalid_request"),
        ({"files": [("image", encode(picture()))] * 2}, 422, "invalid_request"),
        ({"files": {"image": encode(picture())}, "params": {"confidence": 1.5}}, 422, "invalid_request"),
        ({"files": {"image": encode(picture())}, "params": {"confidence": "nan"}}, 422, "invalid_request"),
        ({"files": {"image": encode(picture())}, "params": {"max_detections": 0}}, 422, "invalid_request"),
        (multipart(b"--B", PART, b"", b"\xff\xd8\xff"), 422, "invalid_request"),
        (multipart(b"nothing like a form"), 422, "invalid_request"),
        ({"files": {"image": b"\xff\xd8\xff" + bytes(17 * 1024 * 1024)}}, 413, "too_large"),
        ({"files": {"image": encode(noise(6000, 5000), quality=30)}}, 413, "too_large"),
        ({"files": {"image": encode(picture(6000, 5000), "PNG")}}, 413, "too_large"),
    ],
)
def test_bad_input_gets_one_documented_error(
    client: TestClient, request_: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post("/predict", **request_)
    error = ErrorResponse.model_validate_json(answer.content)
    assert (answer.status_code, error.error.code) == (status, code)
    assert error.request_id == answer.headers["X-Request-Id"]
    assert len(error.error.message) > 20


@pytest.mark.parametrize("path", ["/predict", "/predict/annotated"])
def test_what_a_file_is_is_told_by_its_bytes_whatever_its_name_and_type_say(client: TestClient, path: str) -> None:
    image = client.post(path, files={"image": ("leaf.jpg", encode(picture(), "PNG"), "image/jpeg")})
    text = client.post(path, files={"image": ("leaf.png", b"Dear all, here is the leaf.", "image/png")})
    assert (image.status_code, text.status_code) == (200, 415)


def sent(form: str, image: bytes, field: str = "image") -> dict[str, Any]:
    text = base64.b64encode(image).decode()
    lines = base64.encodebytes(image).decode()
    bodies: dict[str, dict[str, Any]] = {
        "form": {"files": {field: image}},
        "file": {"content": image, "headers": {"content-type": "image/jpeg"}},
        "bytes": {"content": image, "headers": {"content-type": "application/octet-stream"}},
        "json": {"json": {field: text}},
        "json in lines": {"json": {field: lines}},
        "json without padding": {"json": {field: text.rstrip("=")}},
        "json for addresses": {"json": {field: base64.urlsafe_b64encode(image).decode()}},
        "data url": {"json": {field: f"data:image/jpeg;base64,{text}"}},
    }
    return bodies[form]


FORMS = ["form", "file", "bytes", "json", "json in lines", "json without padding", "json for addresses", "data url"]


@pytest.mark.parametrize("path", ["/predict", "/predict/annotated"])
@pytest.mark.parametrize("form", FORMS)
def test_an_image_gets_the_same_answer_in_whatever_form_it_is_sent(client: TestClient, path: str, form: str) -> None:
    image = encode(noise(90, 70))
    answers = [client.post(path, **sent(one, image), params={"confidence": 0}) for one in ("form", form)]
    assert [answer.status_code for answer in answers] == [200, 200]
    if path == "/predict":
        found = [answer.json()["detections"] for answer in answers]
        assert found[0] == found[1] != []
    else:
        assert answers[0].content == answers[1].content


def test_several_images_are_taken_as_json_and_one_as_a_bare_file(client: TestClient) -> None:
    image = encode(picture())
    body = {"images": [base64.b64encode(image).decode()] * 2}
    several = client.post("/predict/batch", json=body).json()["results"]
    alone = client.post("/predict/batch", content=image, headers={"content-type": "image/png"}).json()["results"]
    assert [one["detections"] for one in several] == [alone[0]["detections"]] * 2
    wrong = client.post("/predict/batch", json={"images": [body["images"][0], "?"]})
    assert wrong.status_code == 422
    assert "Image 2 of 2" in wrong.json()["error"]["message"]


def test_an_answer_may_be_what_tools_for_datasets_read(client: TestClient) -> None:
    image, parameters = encode(noise(90, 70)), {"confidence": 0, "max_detections": 5}

    def asked(form: str) -> Any:
        headers = {"X-Request-Id": "42"}
        return client.post("/predict", files={"image": image}, params={**parameters, "format": form}, headers=headers)

    ours = asked("json").json()["detections"]
    rows = [[float(number) for number in line.split()] for line in asked("yolo").text.splitlines()]
    coco = asked("coco").json()
    assert len(ours) == len(rows) == len(coco) == 5
    for found, (class_id, x, y, width, height, score), result in zip(ours, rows, coco, strict=True):
        left, top, right, bottom = found["box"]
        assert class_id == found["class_id"]
        assert score == pytest.approx(found["score"], abs=1e-5)
        assert (x, y) == pytest.approx(((left + right) / 2 / 90, (top + bottom) / 2 / 70), abs=2e-4)
        assert (width, height) == pytest.approx(((right - left) / 90, (bottom - top) / 70), abs=3e-4)
        assert result["bbox"] == pytest.approx([left, top, right - left, bottom - top], abs=0.02)
        assert (result["category_id"], result["score"]) == (found["class_id"], found["score"])
        assert result["image_id"] == 42


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/predict/annotated"])
@pytest.mark.parametrize("name", ["conf", "Confidence", "k" * 5000])
def test_a_parameter_that_nobody_reads_is_refused_by_its_name(client: TestClient, path: str, name: str) -> None:
    answer = client.post(path, content=encode(picture()), params={name: "0.5"})
    message = answer.json()["error"]["message"]
    assert answer.status_code == 422
    assert message.startswith(f"There is no parameter '{name[:60]}'")
    assert len(message) < 200


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/predict/annotated"])
@pytest.mark.parametrize(
    "query",
    ["confidence=0.5&confidence=0", "max_detections=3&confidence=0&max_detections=3", "%63onfidence=1&confidence=1"],
)
def test_a_parameter_that_is_given_twice_is_refused(client: TestClient, path: str, query: str) -> None:
    """One of the two would be overlooked: which, nobody can see in the answer."""
    answer = client.post(f"{path}?{query}", content=encode(picture()))
    assert answer.status_code == 422
    assert "is given 2 times" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", '{"image": "AAAA", "image": "%s"}'),
        ("/predict", '{"image": "%s", "im\\u0061ge": ""}'),
        ("/predict/batch", '{"images": [], "images": ["%s"]}'),
        ("/predict/batch", '{"images": ["%s"], "images": ["AAAA", "AAAA"]}'),
    ],
)
def test_an_image_that_json_names_twice_is_refused(client: TestClient, path: str, body: str) -> None:
    text = base64.b64encode(encode(picture())).decode()
    answer = client.post(path, content=body.replace("%s", text), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


def test_a_name_with_quotes_in_a_data_url_is_no_second_image(client: TestClient) -> None:
    text = 'data:image/png;name="leaf.png";base64,' + base64.b64encode(encode(picture())).decode()
    assert client.post("/predict", json={"image": text}).status_code == 200
    assert client.post("/predict/batch", json={"images": [text, text]}).status_code == 200


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 700])
def test_a_form_that_was_cut_is_not_answered_in_part(client: TestClient, cut: int) -> None:
    """A camera that counts its body wrongly sends no end, and the last image would be gone without a word."""
    part = b'--B\r\nContent-Disposition: form-data; name="images"\r\n\r\n' + encode(picture()) + b"\r\n"
    whole = part + part + b"--B--"
    answer = client.post("/predict/batch", **multipart(whole[:-cut]))
    assert answer.status_code == 422
    assert "ends before its last boundary" in answer.json()["error"]["message"]
    assert len(client.post("/predict/batch", **multipart(whole)).json()["results"]) == 2


@pytest.mark.parametrize("path", ["/predict/batch", "/predict/annotated"])
def test_a_form_of_answer_that_a_route_does_not_have_is_refused(client: TestClient, path: str) -> None:
    answer = client.post(path, content=encode(picture()), params={"format": "yolo"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


def test_where_nothing_is_found_every_form_is_an_empty_one(client: TestClient) -> None:
    def asked(form: str) -> Any:
        answer = client.post("/predict", content=encode(picture()), params={"confidence": 1, "format": form})
        assert answer.status_code == 200
        return answer

    assert asked("yolo").text == ""
    assert asked("coco").json() == []
    assert asked("json").json()["detections"] == []


@pytest.mark.parametrize(
    ("request_id", "image_id"), [("0042", 42), ("leaf-42", "leaf-42"), ("4.2", "4.2"), ("9" * 100, "9" * 100)]
)
def test_a_coco_result_is_about_the_image_that_the_request_names(
    client: TestClient, request_id: str, image_id: object
) -> None:
    parameters: dict[str, Any] = {"confidence": 0, "format": "coco"}
    answer = client.post(
        "/predict", content=encode(noise(90, 70)), params=parameters, headers={"X-Request-Id": request_id}
    )
    assert {found["image_id"] for found in answer.json()} == {image_id}


def test_every_form_is_counted_as_the_same_route_and_by_who_asks(tmp_path: Path) -> None:
    proof = {"X-Banana-Traffic": "probe", "X-Banana-Probe": "secret"}
    with client_of(build_replica(tmp_path, probe_token="secret")) as client:
        for body, form in itertools.product(("file", "json"), ("json", "yolo", "coco")):
            request = sent(body, encode(picture()))
            for headers in ({}, proof, {"X-Banana-Traffic": "probe"}):
                both = {**request, "headers": {**request.get("headers", {}), **headers}}
                assert client.post("/predict", params={"format": form}, **both).status_code == 200
        metrics = client.get("/metrics").text
    assert 'banana_requests_total{route="/predict",status="200",traffic="probe"} 6.0' in metrics
    assert 'banana_requests_total{route="/predict",status="200",traffic="user"} 12.0' in metrics
    assert "banana_inference_seconds_count 18.0" in metrics


def test_a_corrupt_image_does_not_spoil_its_batch(client: TestClient) -> None:
    good, bad = encode(picture()), encode(picture())[:300]
    files = [("images", good), ("images", bad), ("images", encode(picture(), "PNG"))]
    answer = BatchResponse.model_validate_json(client.post("/predict/batch", files=files).content)
    assert [result.outcome for result in answer.results] == ["predicted", "failed", "predicted"]
    assert answer.results[1].error.code == "corrupt_image"  # type: ignore[union-attr]
    alone = post(client, good).json()["detections"]
    assert json.loads(answer.results[0].model_dump_json())["detections"] == alone


def test_a_batch_larger_than_the_queue_or_the_limit_is_refused(client: TestClient) -> None:
    image = encode(picture())
    assert client.post("/predict/batch", files=[("images", image)] * 17).status_code == 422


def test_the_annotated_image_shows_the_box(client: TestClient) -> None:
    import io

    from PIL import Image

    answer = post(client, encode(picture()), "/predict/annotated")
    drawn = Image.open(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == "image/jpeg"
    assert drawn.size == (128, 96)
    plain = post(client, encode(picture(box=(0, 0, 0, 0))), "/predict/annotated").content
    assert drawn.convert("RGB").getpixel((33, 40)) != Image.open(io.BytesIO(plain)).convert("RGB").getpixel((33, 40))


@pytest.mark.parametrize(("padding", "on_the_loop"), [(0, True), (2 * 1024 * 1024, False)])
def test_a_large_form_is_not_taken_apart_on_the_event_loop(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, padding: int, on_the_loop: bool
) -> None:
    seen: list[bool] = []

    def spy(body: bytes, content_type: str, field: str) -> list[bytes]:
        with suppress(RuntimeError):
            seen.append(asyncio.get_running_loop().is_running())
        return images_of(body, content_type, field)

    monkeypatch.setattr(predictions, "images_of", spy)
    assert post(client, encode(picture()) + bytes(padding)).status_code == 200
    assert seen == [True] * on_the_loop


def test_version_is_version_json_and_what_runs_it(client: TestClient) -> None:
    version = client.get("/version").json()
    assert version["source"] == "models:/banana_sigatoka_detector/7"
    assert version["classes"] == ["red", "blue"]
    assert (version["digest"], version["environment"], version["colour"]) == (DIGEST, "production", "blue")
    assert (version["precision"], version["precision_reason"]) == ("f32", "")
    assert isinstance(version["integer_instructions"], str)


def test_no_answer_is_undocumented(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    for path in ("/predict", "/predict/batch", "/predict/annotated"):
        operation = schema["paths"][path]["post"]
        assert set(operation["responses"]) == {"200", "408", "413", "415", "422", "500", "503"}
        assert {"multipart/form-data", "image/jpeg", "application/json"} <= operation["requestBody"]["content"].keys()


def test_a_second_worker_gives_the_same_answer(tmp_path: Path) -> None:
    image = encode(noise(100, 80))
    write_model(tmp_path)
    with client_of(build_replica(tmp_path, inference_workers=2)) as client:
        files = [("images", image)] * 12
        results = client.post("/predict/batch", files=files, params={"confidence": 0}).json()["results"]
    assert len({json.dumps(result["detections"]) for result in results}) == 1


@pytest.mark.parametrize("model", [PredictResponse, BatchResponse, ErrorResponse])
def test_the_example_of_an_answer_is_such_an_answer_whole(client: TestClient, model: type[BaseModel]) -> None:
    example = client.get("/openapi.json").json()["components"]["schemas"][model.__name__]["example"]
    assert model.model_validate(example).model_dump(mode="json") == example


def test_the_example_of_a_batch_has_an_image_that_was_answered_and_one_that_failed(client: TestClient) -> None:
    example = client.get("/openapi.json").json()["components"]["schemas"]["BatchResponse"]["example"]
    assert [result["outcome"] for result in example["results"]] == ["predicted", "failed"]
