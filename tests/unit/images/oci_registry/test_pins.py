from __future__ import annotations

from banana_delivery.images.oci_registry.pins import (
    deletion_tag,
    for_people,
    leases_of,
    named_by,
    note_of,
    part_tag,
    pin_tag,
    pinned_at,
    standing_marks,
    unmark_tag,
    void_marks,
)

ONE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def test_the_newest_lease_counts() -> None:
    assert pinned_at([pin_tag(ONE, 10.9), pin_tag(ONE, 20.0), "latest"]) == 20.0
    assert pinned_at(["latest", "lease-soon"]) == 0.0


def test_a_doom_stands_until_it_is_pardoned_by_name_and_concerns_no_other_image() -> None:
    first, second = deletion_tag(ONE, 100.0), deletion_tag(ONE, 100.0)

    assert standing_marks([first, unmark_tag(first)], ONE, 0.0) == []
    assert standing_marks([first, second, unmark_tag(first)], ONE, 0.0) == [second]
    assert standing_marks([first, second], OTHER, 0.0) == []


def test_a_doom_that_nobody_lived_to_pardon_is_void_after_a_while() -> None:
    old, fresh = deletion_tag(ONE, 100.0), deletion_tag(ONE, 200.0)

    assert standing_marks([old, fresh], ONE, 150.0) == [fresh]


def test_people_see_only_the_tags_that_were_given() -> None:
    tags = [
        pin_tag(ONE, 1.0),
        deletion_tag(ONE, 1.0),
        unmark_tag(deletion_tag(ONE, 1.0)),
        "key-0123",
        "7",
        "latest",
        "sha-abc",
    ]

    assert for_people(tags) == {"7", "latest", "sha-abc"}


def test_only_a_release_s_lease_names_what_it_lies_on() -> None:
    assert named_by(pin_tag(ONE, 5.0)) == "1" * 16
    assert [named_by(tag) for tag in (part_tag(ONE, 5.0), deletion_tag(ONE, 5.0), "latest")] == ["", "", ""]
    assert leases_of([pin_tag(ONE, 5.0), part_tag(ONE, 6.0), pin_tag(OTHER, 5.0), deletion_tag(ONE, 5.0)], ONE) == {
        pin_tag(ONE, 5.0),
        part_tag(ONE, 6.0),
    }


def test_each_doom_lies_on_a_note_of_its_own_that_its_name_leads_to() -> None:
    first, second = deletion_tag(ONE, 100.0), deletion_tag(ONE, 100.0)

    assert note_of(first) == note_of(first)
    assert note_of(first).digest != note_of(second).digest
    assert void_marks([first, unmark_tag(first), pin_tag(ONE, 5.0)], 100.5) == [first]
    assert void_marks([first], 99.5) == []
