from __future__ import annotations

from banana_delivery.images.base import PruneDecision
from banana_delivery.images.retention import Stored, decide, refusals
from banana_delivery.policy.model import ImageRef

NOW = 10_000.0
LEASE = 100.0


def stored(
    number: int, *, tags: set[str] | None = None, used_at: float = 0.0, blobs: dict[str, int] | None = None
) -> Stored:
    ref = ImageRef(repository="r", digest=f"sha256:{number:064x}", version=str(number), key="k")
    return Stored(ref, float(number), used_at, frozenset(tags or ()), blobs or {f"blob{number}": number})


def kept(images: list[Stored], keep: int = 0, in_use: set[str] | None = None) -> list[str]:
    return [d.ref.version for d in decide(images, keep, in_use or set(), NOW, LEASE) if d.keep]


def test_the_newest_stay_by_the_date_they_were_built_not_by_their_number() -> None:
    images = [stored(3), stored(1), stored(2)]

    assert kept(images, keep=2) == ["3", "2"]


def test_a_protected_image_takes_no_place_from_the_newest() -> None:
    images = [stored(3), stored(2), stored(1, tags={"stable"})]

    assert kept(images, keep=2) == ["3", "2", "1"]


def test_a_lease_protects_until_it_has_run_out() -> None:
    assert kept([stored(1, used_at=NOW - LEASE + 1)]) == ["1"]
    assert kept([stored(1, used_at=NOW - LEASE)]) == []


def test_a_blob_that_a_kept_image_needs_frees_nothing_and_a_shared_one_counts_once() -> None:
    images = [
        stored(3, blobs={"code": 10, "model3": 100}),
        stored(2, blobs={"code": 10, "old-code": 7, "model2": 200}),
        stored(1, blobs={"old-code": 7, "model1": 300}),
    ]

    assert [d.freed_bytes for d in decide(images, 1, set(), NOW, LEASE)] == [0, 207, 300]


def test_every_decision_has_a_reason() -> None:
    images = [stored(3), stored(2, tags={"stable"}), stored(1)]

    reasons = [d.reason for d in decide(images, 1, {images[0].ref.digest}, NOW, LEASE)]

    assert reasons[0].startswith("an environment runs it")
    assert reasons[1] == "tagged stable"
    assert reasons[2] == "older than the newest 1, and nothing runs it"


def test_what_a_store_refused_to_remove_is_told_in_one_sentence_however_much_it_is() -> None:
    others = [PruneDecision(stored(number).ref, keep=number == 2, reason="") for number in (2, 3)]
    refused = [
        PruneDecision(stored(number).ref, keep=True, reason=f"locked {number}.", refused=True) for number in (4, 5, 6)
    ]

    assert refusals(others) == ""
    assert refusals([*others, refused[0]]) == "sha256:000000000000 of version 4 stays: locked 4."
    assert (
        refusals([*others, *refused]) == "sha256:000000000000 of version 4 stays, and 2 more images stay so: locked 4."
    )
