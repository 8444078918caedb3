"""Evidence about a release whose router dies under the questions: the release is not to blame."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.responses import Response

from banana_delivery.errors import BrokenAnswerError, EvaluationError, RejectedModelError
from banana_delivery.evaluation import answers, http
from banana_delivery.evaluation.answers import ask
from banana_delivery.evaluation.base import ReleaseEndpoint
from banana_delivery.evaluation.http import HttpEvaluator
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.evaluation.worst import FOLDER, file_of, read_worst
from banana_delivery.policy.model import ImageRef
from banana_delivery.policy.quality.comparison import compare
from banana_delivery.settings import Settings
from tests.support.ports import free_port
from tests.unit.evaluation.leaf_service import DIGEST, VERSION, LeafService, running

FOUND = {"box": [8.0, 8.0, 40.0, 24.0], "class_id": 0, "class_name": "streak", "score": 0.9}


@pytest.fixture
def evidence(tmp_path: Path, leaves: list[LabelledImage], monkeypatch: pytest.MonkeyPatch) -> HttpEvaluator:
    monkeypatch.setattr(http, "UNREACHED_PAUSE_SECONDS", 0.5)
    asking = HttpEvaluator(Settings(home=tmp_path))
    asking.__dict__["images"] = leaves
    return asking


@contextmanager
def starting_late(port: int, seconds: float, missed: threading.Event | None = None) -> Iterator[str]:
    """A service that nobody can reach at first: for some seconds, or until somebody has missed it."""
    end = threading.Event()

    def serve() -> None:
        (missed or end).wait(seconds)
        with running(port):
            end.wait()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        end.set()
        thread.join()


def answering(url: str) -> ReleaseEndpoint:
    return ReleaseEndpoint(url, ImageRef(repository="banana", digest=DIGEST, version=VERSION, key="key"))


def test_a_release_that_cannot_be_reached_for_a_moment_is_tested_again(evidence: HttpEvaluator) -> None:
    said: list[str] = []
    missed = threading.Event()

    def tell(line: str) -> None:
        said.append(line)
        if "FAILED" in line:
            missed.set()

    with starting_late(free_port(), 60.0, missed) as url:
        rows = evidence.tests(answering(url), tell)
    assert [row.name for row in rows if row.unreached] == []
    assert rows[0].passed
    assert any("FAILED: is alive" in line for line in said)


def test_one_that_can_never_be_reached_is_no_bad_release_but_no_evidence(evidence: HttpEvaluator) -> None:
    with pytest.raises(EvaluationError, match=r"cannot be reached at .* see to the router there, then deliver again"):
        evidence.tests(answering(f"http://127.0.0.1:{free_port()}"), print)


def test_labelled_images_are_sent_again_while_nobody_can_be_reached(leaves: list[LabelledImage]) -> None:
    with starting_late(free_port(), 0.3) as url:
        answers = ask(url, leaves, expected_digest=DIGEST)
    assert len(answers.detections) == len(leaves)
    assert answers.failures == {}


@pytest.fixture
def production(
    evidence: HttpEvaluator, service: LeafService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ReleaseEndpoint:
    monkeypatch.setattr(answers, "UNREACHED_PAUSE_SECONDS", 0.0)
    evidence.__dict__["_cache"] = answers.AnswerCache(tmp_path / "answers", [image.name for image in evidence.images])
    return answering(service.url)


def test_one_image_of_twenty_that_production_leaves_unanswered_is_its_miss(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "TRIES_IF_BROKEN", 1)
    evidence.answers(production, print, fresh=True)
    service.statuses = [500]
    found = evidence.production_answers(production, print, fresh=True)
    assert (found.kept, found.unanswered) == (False, 1)
    assert found.why.startswith("status 500")


def test_production_that_is_down_is_compared_by_what_it_answered_before(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint
) -> None:
    before = evidence.answers(production, print, fresh=True)
    service.always = 404
    found = evidence.production_answers(production, print, fresh=True)
    assert (found.kept, found.unanswered, found.matches.names) == (True, 20, before.names)


def test_the_worst_images_of_a_comparison_are_kept_for_the_report(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint, tmp_path: Path
) -> None:
    service.detections = [FOUND]
    service.always = 500
    nothing = evidence.production_answers(production, print, fresh=True).matches
    service.always = None
    found = evidence.answers(production, print, fresh=True)
    compared = compare(nothing, found, resample_count=10)
    evidence.__dict__["_split"] = (SimpleNamespace(digest="sha256:h"), [])
    evidence.keep_worst(production.ref, compared, nothing, found, print)
    shown = read_worst(file_of(tmp_path, DIGEST)).of(compared, "sha256:h")
    assert len(shown) == 6
    assert all(one.jpeg and one.boxes for one in shown)
    (tmp_path / FOLDER).rename(tmp_path / "away")
    (tmp_path / FOLDER).touch()
    said: list[str] = []
    evidence.keep_worst(production.ref, compared, nothing, found, said.append)
    assert said[0].startswith("The images on which the models differ most could not be kept")
    evidence.__dict__.pop("images")
    evidence.__dict__.pop("_split")
    (tmp_path / "gone").touch()
    evidence._settings = Settings(home=tmp_path, holdout=tmp_path / "gone")
    evidence.keep_worst(production.ref, compared, nothing, found, said.append)
    assert said[1].startswith("The images on which the models differ most could not be kept")


def test_production_that_is_down_and_never_answered_found_nothing(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint
) -> None:
    service.always = 500
    found = evidence.production_answers(production, print, fresh=True)
    assert (found.kept, found.unanswered, found.matches.image.size) == (False, 20, 0)
    service.always = None
    again = evidence.production_answers(production, print, fresh=False)
    assert again.unanswered == 0, "what was not answered was kept as an answer"


def test_a_candidate_that_leaves_an_image_unanswered_gives_no_evidence(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint
) -> None:
    service.statuses = [500]
    with pytest.raises(EvaluationError, match="1 of 20 labelled images were not answered"):
        evidence.answers(production, print, fresh=True)


def test_a_changed_holdout_is_asked_about_anew_and_the_log_says_why(service: LeafService, tmp_path: Path) -> None:
    from tests.unit.evaluation.holdout.layouts import coco128, picture

    root, said = coco128(tmp_path / "data"), list[str]()
    service.detections = []
    first = HttpEvaluator(Settings(home=tmp_path, holdout=root))
    first.answers(answering(service.url), said.append, fresh=False)
    asked = service.asked
    HttpEvaluator(Settings(home=tmp_path, holdout=root)).answers(answering(service.url), said.append, fresh=False)
    assert service.asked == asked
    picture(root / "images" / "val" / "a.jpg", shade=17)
    changed = HttpEvaluator(Settings(home=tmp_path, holdout=root))
    changed.answers(answering(service.url), said.append, fresh=False)
    assert service.asked == 2 * asked
    before = first.labelled.digest.removeprefix("sha256:")[:16]
    assert any(f"answered other labelled images before ({before})" in line for line in said)
    assert any(changed.holdout[:19] in line for line in said)


def test_parity_is_proven_on_images_that_every_opencv_reads_and_that_show_something_first(tmp_path: Path) -> None:
    from tests.unit.evaluation.holdout.layouts import BOX_LINE, coco128, picture, write

    root = coco128(tmp_path / "data")
    picture(root / "images" / "val" / "aa.avif")
    write(root / "labels" / "val" / "aa.txt", BOX_LINE)
    paths = HttpEvaluator(Settings(home=tmp_path, holdout=root)).sample_images(4)
    assert [path.name for path in paths] == ["a.jpg", "b.png", "empty.jpg", "aa.avif"]


@pytest.mark.parametrize("score", ["NaN", "Infinity", "2"])
def test_a_candidate_whose_score_is_no_number_is_rejected_and_no_error_of_the_platform(
    score: str, evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint
) -> None:
    box = {"box": [8.0, 8.0, 40.0, 24.0], "class_id": 0, "class_name": "streak", "score": float(score)}
    service.detections = [box]
    with pytest.raises(BrokenAnswerError, match=r"Version 7 gave 20 of 20 labelled images an answer that breaks"):
        evidence.answers(production, print, fresh=True)
    assert issubclass(BrokenAnswerError, RejectedModelError)


@pytest.mark.parametrize(
    "page", [b"<html>Log in</html>", b'{"message": "Log in"}', b'{"detections": [', b'{"detections": "none"}']
)
def test_a_page_of_something_on_the_way_is_no_fault_of_the_model(
    page: bytes,
    evidence: HttpEvaluator,
    service: LeafService,
    production: ReleaseEndpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "_look_at", lambda data: Response(page, media_type="application/json"))
    with pytest.raises(EvaluationError, match="20 of 20 labelled images were not answered"):
        evidence.answers(production, print, fresh=True)


def test_production_that_is_down_is_compared_by_what_an_earlier_version_of_ours_kept(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint
) -> None:
    before = evidence.answers(production, print, fresh=True)
    evidence.__dict__["_cache"].put(DIGEST, replace(before, placed=None))
    service.always = 500
    found = evidence.production_answers(production, print, fresh=True)
    assert (found.kept, found.unanswered, found.matches.placed) == (True, 20, None)
    service.always = None
    assert evidence.production_answers(production, print, fresh=False).matches.placed is not None


def test_a_few_images_are_asked_about_first_and_later_only_the_others(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint
) -> None:
    few = evidence.answers(production, print, fresh=True, first=5)
    assert (len(few.names), service.asked) == (5, 5)
    by_content = sorted(evidence.images, key=lambda image: (image.sha256, image.name))
    assert few.names == tuple(image.name for image in by_content[:5])
    whole = evidence.answers(production, print, fresh=False)
    assert (whole.names, service.asked) == (tuple(image.name for image in evidence.images), 20)
    assert evidence.answers(production, print, fresh=False, first=5).names == few.names
    assert evidence.production_answers(production, print, fresh=False, first=7).matches.names[:5] == few.names
    assert service.asked == 20


def test_what_production_leaves_unanswered_of_later_images_is_its_miss(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint
) -> None:
    evidence.production_answers(production, print, fresh=True, first=5)
    service.always = 500
    found = evidence.production_answers(production, print, fresh=False)
    assert (found.kept, found.unanswered, len(found.matches.names)) == (False, 15, 20)
    assert found.matches.unanswered is not None
    assert int(found.matches.unanswered.sum()) == 15


def test_a_few_fresh_answers_take_none_of_those_kept_of_production(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint
) -> None:
    before = evidence.production_answers(production, print, fresh=True).matches
    few = evidence.production_answers(production, print, fresh=True, first=5)
    assert (len(few.matches.names), service.asked) == (5, 25)
    service.always = 500
    found = evidence.production_answers(production, print, fresh=True)
    assert (found.kept, found.matches.names) == (True, before.names)


def test_what_was_answered_in_a_comparison_is_not_asked_again_in_it_however_fresh_it_has_to_be(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint
) -> None:
    evidence.answers(production, print, fresh=True)
    few = evidence.answers(production, print, fresh=True, first=5)
    assert service.asked == 25
    assert len(evidence.answers(production, print, fresh=True, said=few).names) == 20
    assert service.asked == 40


def test_what_production_left_unanswered_in_a_comparison_is_asked_again_in_it(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "TRIES_IF_BROKEN", 1)
    service.statuses = [500]
    few = evidence.production_answers(production, print, fresh=True, first=5)
    assert (few.unanswered, service.asked) == (1, 5)
    whole = evidence.production_answers(production, print, fresh=True, said=few.said)
    assert (whole.unanswered, service.asked) == (0, 21)
    assert whole.matches.names == tuple(image.name for image in evidence.images)


def test_earlier_answers_of_production_are_none_of_this_comparison(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint
) -> None:
    evidence.production_answers(production, print, fresh=True)
    service.always = 500
    few = evidence.production_answers(production, print, fresh=True, first=5)
    assert (few.kept, few.said) == (True, None)


def test_what_an_earlier_version_kept_without_places_is_asked_for_once_however_many_looks_there_are(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint, tmp_path: Path
) -> None:
    cache = answers.AnswerCache(tmp_path / "answers", [image.name for image in evidence.images])
    before = evidence.production_answers(production, print, fresh=True).matches
    (file,) = (tmp_path / "answers").glob("*.npz")
    file.unlink()
    cache.put(DIGEST, replace(before, placed=None))
    few = evidence.production_answers(production, print, fresh=False, first=5)
    evidence.production_answers(production, print, fresh=False, said=few.said)
    assert service.asked == 40
    evidence.production_answers(production, print, fresh=False)
    assert service.asked == 40


def test_answers_that_cannot_be_kept_are_evidence_all_the_same(
    evidence: HttpEvaluator, production: ReleaseEndpoint, tmp_path: Path
) -> None:
    said: list[str] = []
    (tmp_path / "answers").touch()
    assert len(evidence.answers(production, said.append, fresh=True).names) == 20
    assert any("could not be kept, so it will be asked again" in line for line in said)


def test_answers_to_a_holdout_that_is_read_anew_meanwhile_are_kept_as_answers_to_the_one_before(
    evidence: HttpEvaluator, service: LeafService, production: ReleaseEndpoint, tmp_path: Path
) -> None:
    def read_anew(_: str) -> None:
        evidence.__dict__["_cache"] = answers.AnswerCache(
            tmp_path / "another", [image.name for image in evidence.images]
        )

    evidence.answers(production, read_anew, fresh=True)
    assert not (tmp_path / "another").exists()
    assert answers.AnswerCache(tmp_path / "answers", [image.name for image in evidence.images]).get(DIGEST) is not None
