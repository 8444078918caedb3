from __future__ import annotations

from banana_delivery.images.oci_registry.pins import (
    doom_tag,
    for_people,
    lease_tag,
    leased_at,
    pardon_tag,
    standing_dooms,
)

ONE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def test_the_newest_lease_counts() -> None:
    assert leased_at([lease_tag(ONE, 10.9), lease_tag(ONE, 20.0), "latest"]) == 20.0
    assert leased_at(["latest", "lease-soon"]) == 0.0


def test_a_doom_stands_until_it_is_pardoned_by_name_and_concerns_no_other_image() -> None:
    first, second = doom_tag(ONE, 100.0), doom_tag(ONE, 100.0)

    assert standing_dooms([first, pardon_tag(first)], ONE, 0.0) == []
    assert standing_dooms([first, second, pardon_tag(first)], ONE, 0.0) == [second]
    assert standing_dooms([first, second], OTHER, 0.0) == []


def test_a_doom_that_nobody_lived_to_pardon_is_void_after_a_while() -> None:
    old, fresh = doom_tag(ONE, 100.0), doom_tag(ONE, 200.0)

    assert standing_dooms([old, fresh], ONE, 150.0) == [fresh]


def test_people_see_only_the_tags_that_were_given() -> None:
    tags = [
        lease_tag(ONE, 1.0),
        doom_tag(ONE, 1.0),
        pardon_tag(doom_tag(ONE, 1.0)),
        "key-0123",
        "7",
        "latest",
        "sha-abc",
    ]

    assert for_people(tags) == {"7", "latest", "sha-abc"}
