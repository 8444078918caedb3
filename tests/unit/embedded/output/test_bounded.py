"""What stays of a file that is printed into without end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from banana_delivery.embedded.output.bounded import NOTE, Bounds, cut, cut_all

BOUNDS = Bounds(most=3_000, beginning=400, end=800)
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT


@contextmanager
def opened(path: Path, flags: int = FLAGS) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def lines(first: int, last: int) -> bytes:
    return b"".join(b"line %06d of a library\n" % number for number in range(first, last))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[int]:
    with opened(tmp_path / "log") as descriptor:
        yield descriptor


def test_beginning_and_end_stay_in_whole_lines_and_what_went_is_counted(log: int, tmp_path: Path) -> None:
    printed = lines(0, 1_000)
    os.write(log, printed)
    assert cut(log, BOUNDS)

    said = (tmp_path / "log").read_bytes()
    first, count, last = NOTE.split(said)
    assert printed.startswith(first) and printed.endswith(last)
    assert first.endswith(b"library\n") and last.startswith(b"line ")
    assert int(count) == len(printed) - len(first) - len(last)
    assert len(first) > 300 and len(last) > 700


def test_a_second_cut_keeps_the_same_beginning_and_counts_on(log: int, tmp_path: Path) -> None:
    everything = b""
    for turn in range(5):
        printed = lines(turn * 1_000, (turn + 1) * 1_000)
        everything += printed
        os.write(log, printed)
        assert cut(log, BOUNDS)
    said = (tmp_path / "log").read_bytes()
    [note] = NOTE.finditer(said)
    first, last = said[: note.start()], said[note.end() :]
    assert everything.startswith(first) and everything.endswith(last)
    assert len(first) + int(note[1]) + len(last) == pytest.approx(len(everything), abs=4 * 60)


def test_what_is_short_is_left_alone(log: int, tmp_path: Path) -> None:
    os.write(log, b"x" * BOUNDS.most)
    assert not cut(log, BOUNDS)
    assert (tmp_path / "log").stat().st_size == BOUNDS.most


def test_a_program_that_has_the_file_open_goes_on_at_its_new_end(log: int, tmp_path: Path) -> None:
    with opened(tmp_path / "log") as other:
        os.write(other, lines(0, 1_000))
        cut(log, BOUNDS)
        os.write(other, b"and on\n")
    said = (tmp_path / "log").read_bytes()
    assert said.endswith(b"line 000999 of a library\nand on\n")
    assert b"\0" not in said, "it wrote where the end had been"


@pytest.mark.parametrize("character", ["x", "é", "🍌"])
def test_a_line_without_an_end_is_cut_between_characters(log: int, tmp_path: Path, character: str) -> None:
    for shift in range(4):
        os.ftruncate(log, 0)
        os.write(log, b"-" * shift + (character * 200_000).encode())
        assert cut(log, BOUNDS)
        said = (tmp_path / "log").read_bytes()
        assert len(said) < BOUNDS.most
        assert said.decode().endswith(character * 100)


def test_a_file_that_was_removed_is_bounded_as_well(log: int, tmp_path: Path) -> None:
    (tmp_path / "log").unlink()
    os.write(log, lines(0, 1_000))
    assert cut(log, BOUNDS)
    assert os.fstat(log).st_size < BOUNDS.most


def test_what_is_not_appended_to_is_not_ours_to_cut(tmp_path: Path) -> None:
    with opened(tmp_path / "other", os.O_WRONLY | os.O_CREAT) as descriptor:
        os.write(descriptor, lines(0, 1_000))
        assert not cut(descriptor, BOUNDS)
    read, write = os.pipe()
    assert not cut(write, BOUNDS)
    for end in (read, write):
        os.close(end)


@pytest.mark.parametrize("number", [b"7", b"9" * 18, b"9" * 5_000])
def test_what_reads_like_a_note_of_ours_neither_ends_the_bounding_nor_shortens_the_beginning(
    tmp_path: Path, number: bytes
) -> None:
    bounds = Bounds(most=500_000, beginning=100_000, end=200_000)
    with opened(tmp_path / "log") as descriptor:
        os.write(descriptor, b"begin\n[%s bytes were left out here]\n" % number + lines(0, 30_000))
        cut_all([descriptor], bounds)
        os.write(descriptor, lines(30_000, 60_000))
        cut_all([descriptor], bounds)
    said = (tmp_path / "log").read_bytes()
    assert len(said) < bounds.most
    assert said.startswith(b"begin\n[") and said.endswith(lines(59_999, 60_000))
    assert b"line 002000" in said[: bounds.beginning]
    *_, note = NOTE.finditer(said)
    assert len(said) - len(note[0]) + int(note[1]) == pytest.approx(60_000 * 25, abs=6_000)


def test_what_is_no_text_keeps_its_beginning_as_well(log: int, tmp_path: Path) -> None:
    os.write(log, b"begin" + b"\x80" * 100_000)
    assert cut(log, BOUNDS)
    said = (tmp_path / "log").read_bytes()
    assert said.startswith(b"begin" + b"\x80" * 300)


def test_a_stream_that_leads_elsewhere_in_that_moment_cuts_nothing(
    log: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a step's end leads it back to the run's own file, which is shorter."""
    os.write(log, lines(0, 1_000))
    own = lines(0, 100)
    (tmp_path / "own").write_bytes(own)
    opens = os.open

    with opened(tmp_path / "own") as back:

        def late(path: str, flags: int) -> int:
            os.dup2(back, log)
            return opens(path, flags)

        monkeypatch.setattr(os, "open", late)
        assert not cut(log, BOUNDS)
        monkeypatch.undo()
    assert (tmp_path / "own").read_bytes() == own
