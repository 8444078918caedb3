"""What a release answered is kept on disk, whoever else writes there and whatever becomes of the file."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from banana_delivery.errors import FileLockedError
from banana_delivery.evaluation import answers
from banana_delivery.evaluation.answers import AnswerCache, digest_of
from banana_delivery.files import lock
from banana_delivery.policy.quality.matching import Matches, match_answers
from banana_delivery.policy.quality.stages.parts import chosen
from tests.unit.policy.quality.random_leaves import CLASSES, random_images

DIGEST = "sha256:" + "a" * 64
WHOLE = match_answers(random_images(12, 1, 2.0, 3, 0), CLASSES)


def part(*numbers: int) -> Matches:
    return chosen(WHOLE, np.array(numbers, np.int64))


def names(cache: AnswerCache) -> set[str]:
    kept = cache.get(DIGEST)
    assert kept is not None
    return set(kept.names)


@pytest.mark.parametrize("numbers", [(0, 1), (11,), (5, 3, 1)])
def test_fewer_answers_are_kept_beside_those_to_other_images(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    cache = AnswerCache(tmp_path, WHOLE.names)
    cache.put(DIGEST, WHOLE)
    newer = part(*numbers)
    newer = replace(newer, score=newer.score / 2)
    cache.put(DIGEST, newer)
    assert names(cache) == set(WHOLE.names)
    kept = cache.get(DIGEST)
    assert kept is not None
    of_newer = np.isin(np.array(kept.names)[kept.image], newer.names)
    assert sorted(kept.score[of_newer]) == sorted(newer.score)


def test_writers_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    start = threading.Barrier(6)

    def write(number: int) -> None:
        start.wait()
        AnswerCache(tmp_path, WHOLE.names).put(DIGEST, part(2 * number, 2 * number + 1))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert names(AnswerCache(tmp_path, WHOLE.names)) == set(WHOLE.names)


@pytest.mark.parametrize("left", [0, 3, 30, 0.5, 0.99])
def test_a_file_that_was_cut_off_counts_as_missing_and_is_written_again(tmp_path: Path, left: float) -> None:
    cache = AnswerCache(tmp_path, WHOLE.names)
    cache.put(DIGEST, WHOLE)
    (file,) = tmp_path.glob("*.npz")
    content = file.read_bytes()
    file.write_bytes(content[: left if isinstance(left, int) else int(left * len(content))])
    assert cache.get(DIGEST) is None
    cache.put(DIGEST, part(4))
    assert names(cache) == set(part(4).names)


@pytest.mark.parametrize("at", [1, 8, 60, -1, -12, -40])
def test_a_file_with_a_wrong_byte_is_read_right_or_not_at_all(tmp_path: Path, at: int) -> None:
    cache = AnswerCache(tmp_path, WHOLE.names)
    cache.put(DIGEST, WHOLE)
    (file,) = tmp_path.glob("*.npz")
    content = bytearray(file.read_bytes())
    content[at] ^= 0xFF
    file.write_bytes(content)
    kept = cache.get(DIGEST)
    assert kept is None or kept.names == WHOLE.names


def test_answers_by_other_classes_are_of_other_labels_and_are_not_mixed(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path, WHOLE.names)
    cache.put(DIGEST, replace(WHOLE, class_names=("spot", *CLASSES[1:])))
    cache.put(DIGEST, part(4))
    assert names(cache) == set(part(4).names)


def test_answers_that_an_earlier_version_kept_without_places_are_not_lost(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path, WHOLE.names)
    cache.put(DIGEST, replace(WHOLE, placed=None))
    cache.put(DIGEST, part(4))
    kept = cache.get(DIGEST, whole=False)
    assert kept is not None
    assert set(kept.names) == set(WHOLE.names)
    cache.put(DIGEST, WHOLE)
    assert names(cache) == set(WHOLE.names)


def test_some_answers_lie_where_earlier_versions_do_not_take_them_for_all(tmp_path: Path) -> None:
    """Which compare them, whatever they are of, with the answers of a candidate to all images in their order."""
    cache, all_of_them = AnswerCache(tmp_path, WHOLE.names), tmp_path / f"{'a' * 64}.npz"
    cache.put(DIGEST, part(5, 3, 1))
    assert not all_of_them.exists()
    assert names(cache) == set(part(1, 3, 5).names)
    assert [digest_of(file) for file in tmp_path.iterdir()] == ["a" * 64]

    cache.put(DIGEST, part(0, 2, 4, 6, 7, 8, 9, 10, 11))
    assert [file.name for file in tmp_path.iterdir()] == [all_of_them.name]
    with np.load(all_of_them) as kept:
        assert tuple(kept["names"]) == WHOLE.names


def test_some_answers_of_a_digest_are_found_beside_other_images(tmp_path: Path) -> None:
    AnswerCache(tmp_path / "before", WHOLE.names).put(DIGEST, part(5))
    assert AnswerCache(tmp_path / "now", WHOLE.names).elsewhere(DIGEST) == "before"


def test_somebody_who_writes_for_ever_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LOCK_SECONDS", 0.05)
    said = f"What {DIGEST} answered is being"
    with lock(tmp_path / ".lock", 1.0, "It"), pytest.raises(FileLockedError, match=said):
        AnswerCache(tmp_path / "answers", WHOLE.names).put(DIGEST, WHOLE)
