import pytest

from banana_delivery.errors import DigestMismatchError, UnansweredError
from banana_delivery.evaluation import answers as asking
from banana_delivery.evaluation.answers import ask, matches, matches_with_misses
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.policy.quality.comparison import absolute_quality
from tests.unit.evaluation.leaf_service import DIGEST, VERSION, LeafService

RIGHT = {"box": [8.0, 8.0, 40.0, 24.0], "class_id": 5, "class_name": "streak", "score": 0.9}
WRONG = {"box": [0.0, 30.0, 10.0, 40.0], "class_id": 6, "class_name": "spot", "score": 0.4}


def test_the_answers_to_all_images_become_quality(service: LeafService, leaves: list[LabelledImage]) -> None:
    service.detections = [RIGHT, WRONG]
    done: list[int] = []
    answers = ask(service.url, leaves, expected_digest=DIGEST, progress=lambda count, total: done.append(count))
    assert done == list(range(1, 21))
    assert (answers.digests, answers.versions) == ({DIGEST}, {VERSION})
    assert len(answers.latencies) == 20
    assert absolute_quality(matches(leaves, answers)).map50 == pytest.approx(1.0)


def test_no_more_than_the_allowed_requests_are_under_way(service: LeafService, leaves: list[LabelledImage]) -> None:
    service.delay = 0.02
    ask(service.url, leaves, concurrency=3)
    assert service.most_at_once == 3


def test_an_answer_from_another_release_ends_the_measurement(service: LeafService, leaves: list[LabelledImage]) -> None:
    service.delay = 0.02
    meant = "sha256:" + "2" * 64
    with pytest.raises(DigestMismatchError, match=f"answered from {DIGEST}.*but {meant} was to be measured"):
        ask(service.url, leaves, expected_digest=meant, concurrency=2)
    assert service.asked < len(leaves)


def test_an_overloaded_service_is_asked_again(service: LeafService, leaves: list[LabelledImage]) -> None:
    service.statuses = [503, 503, 503]
    answers = ask(service.url, leaves)
    assert len(answers.detections) == 20
    assert answers.overloads == 3


def test_a_service_that_is_always_overloaded_is_not_asked_for_ever(
    service: LeafService, leaves: list[LabelledImage]
) -> None:
    service.always = 503
    answers = ask(service.url, leaves[:1])
    assert answers.failures == {"leaf-0.jpg": "overloaded 8 times"}
    assert service.asked == 8


def test_failed_images_are_named_and_never_measured_around(service: LeafService, leaves: list[LabelledImage]) -> None:
    service.statuses = [500]
    answers = ask(service.url, leaves, concurrency=1)
    assert list(answers.failures) == ["leaf-0.jpg"]
    with pytest.raises(UnansweredError, match=r"1 of 20 labelled images .* leaf-0.jpg first: status 500"):
        matches(leaves, answers)


@pytest.mark.parametrize(
    ("detection", "complaint"),
    [
        ({**RIGHT, "class_name": "mildew"}, "a class 'mildew' that the labels do not know"),
        ({**RIGHT, "score": None}, "breaks the contract"),
    ],
)
def test_an_answer_that_cannot_be_used_is_a_failure(
    service: LeafService, leaves: list[LabelledImage], detection: dict[str, object], complaint: str
) -> None:
    service.detections = [detection]
    assert complaint in ask(service.url, leaves[:1]).failures["leaf-0.jpg"]


def test_nobody_there_ends_the_asking_soon(leaves: list[LabelledImage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "UNREACHED_PAUSE_SECONDS", 0.01)
    with pytest.raises(UnansweredError, match=r"http://127.0.0.1:9 cannot be reached: ConnectError"):
        ask("http://127.0.0.1:9", leaves)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "UNREACHED_PAUSE_SECONDS", 0.0)


@pytest.mark.usefixtures("impatient")
def test_a_service_that_may_fail_is_asked_again_whatever_went_wrong(
    service: LeafService, leaves: list[LabelledImage]
) -> None:
    # Two at a time: one image might meet them all, and three are its tries.
    for statuses in ([500, 404], [503, 502]):
        service.statuses = statuses
        answers = ask(service.url, leaves, expected_digest=DIGEST, may_fail=True)
        assert (len(answers.detections), answers.failures) == (20, {})


@pytest.mark.usefixtures("impatient")
def test_what_a_service_that_may_fail_leaves_unanswered_counts_as_nothing_found(
    service: LeafService, leaves: list[LabelledImage]
) -> None:
    service.detections, service.statuses = [RIGHT], [500] * 3
    answers = ask(service.url, leaves, concurrency=1, may_fail=True)
    assert list(answers.failures) == ["leaf-0.jpg"]
    found = matches_with_misses(leaves, answers)
    assert found.names == tuple(image.name for image in leaves)
    assert 0 not in found.image
    assert found.unanswered is not None
    assert found.unanswered.tolist() == [True] + [False] * 19
    assert absolute_quality(found).map50 < absolute_quality(matches(leaves[1:], answers)).map50


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("down", ["404", "500", "hangs", "nobody"])
def test_a_service_that_is_clearly_down_is_not_asked_about_every_image(
    service: LeafService, leaves: list[LabelledImage], down: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if down == "hangs":
        monkeypatch.setattr(asking, "BROKEN_TIMEOUT_SECONDS", 0.05)
    service.always, service.delay = (int(down), 0.0) if down.isdigit() else (None, 0.5 * (down == "hangs"))
    url = "http://127.0.0.1:9" if down == "nobody" else service.url
    answers = ask(url, leaves * 10, concurrency=4, may_fail=True)
    assert answers.detections == {}
    assert service.asked <= 3 * (20 + 4)
