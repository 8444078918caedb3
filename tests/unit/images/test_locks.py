from __future__ import annotations

from banana_delivery.images.release import difference, pins

LOCK = """numpy==2.0.0 ; python_version >= '3.11' \\
    --hash=sha256:aa
psycopg[binary]==3.2.1 \\
    --hash=sha256:bb
"""


def test_pins_are_read_with_extras_and_markers_left_out() -> None:
    assert pins(LOCK) == {"numpy": "2.0.0", "psycopg": "3.2.1"}


def test_the_same_pins_in_another_layout_are_no_difference() -> None:
    assert difference(LOCK, "Psycopg==3.2.1\nNumPy==2.0.0\n") == ""


def test_a_change_an_addition_and_a_removal_are_each_named() -> None:
    assert difference(LOCK, "numpy==2.1.0\nuvloop==1.0\n") == (
        "numpy 2.0.0 -> 2.1.0, psycopg 3.2.1 -> absent, uvloop absent -> 1.0"
    )


def test_a_long_list_of_changes_is_cut_and_counted() -> None:
    many = "".join(f"package{number}==1\n" for number in range(9))

    assert difference("", many).endswith("and 4 more")
