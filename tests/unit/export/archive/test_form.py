"""Archives that two programs read differently: each kind was once let through, and is refused."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from banana_delivery.errors import RejectedModelError, UnreadableCheckpointError, UnsafeModelError
from banana_delivery.export.archive import form
from banana_delivery.export.archive.form import Archive
from banana_delivery.export.checkpoint_scan import scan
from examples.train import MODELS
from tests.unit.export.archives import archive, call

SAMPLE = MODELS / "better" / "best.pt"
HARMLESS = call("collections", "OrderedDict")
HOSTILE = call("posix", "system", "true")
END = struct.Struct("<4s4H2LH")


@pytest.fixture
def plain(tmp_path: Path) -> bytes:
    return archive(tmp_path / "plain.pt", HARMLESS, {"data/0": b"1234"}).read_bytes()


def zipped(content: bytes, compression: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("best/data.pkl", content)
        file.writestr("best/version", b"3\n")
        file.comment = comment
    return buffer.getvalue()


def end_of(content: bytes) -> tuple[int, int, int]:
    """Where the end record is; length and start of the directory."""
    at = content.rindex(b"PK\5\6")
    _, _, _, _, _, length, start, _ = END.unpack(content[at : at + END.size])
    return at, length, start


def with_locator_elsewhere(content: bytes) -> bytes:
    """A second directory, of a hostile archive, that only a reader of zip64 goes to."""
    other = zipped(HOSTILE)
    at, _, _ = end_of(content)
    other_at, length, start = end_of(other)
    base = at
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, length, base + start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, base + other_at, 1)
    return content[:at] + other[:other_at] + record + locator + content[at:]


def with_a_hidden_member(content: bytes) -> bytes:
    """A member that the directory does not list, for whoever reads from the front."""
    at, length, start = end_of(content)
    hidden = zipped(HOSTILE)
    hidden = hidden[: hidden.index(b"PK\1\2")]
    end = END.pack(b"PK\5\6", 0, 0, 3 if content.count(b"PK\1\2") == 3 else content.count(b"PK\1\2"),
                   content.count(b"PK\1\2"), length, start + len(hidden), 0)  # fmt: skip
    return content[:start] + hidden + content[start:at] + end


def changed(content: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    at = content.index(signature) + offset
    return content[:at] + value + content[at + len(value) :]


READ_IN_TWO_WAYS: dict[str, Callable[[bytes], bytes]] = {
    "a pickle before the archive": lambda content: HOSTILE + content,
    "a whole archive before the archive": lambda content: zipped(HOSTILE) + content,
    "something behind it": lambda content: content + b"\0" * 30,
    "another archive behind it": lambda content: content + zipped(HOSTILE),
    "a zip64 locator that points elsewhere": with_locator_elsewhere,
    "a comment": lambda _: zipped(HARMLESS, comment=b"PK\5\6"),
    "a packed member": lambda _: zipped(HARMLESS * 20, zipfile.ZIP_DEFLATED),
    "a member that only its own header knows": with_a_hidden_member,
    "another name in the header": lambda content: content.replace(b"best/data.pkl", b"best/dota.pkl", 1),
    "another method in the header": lambda content: changed(content, b"PK\3\4", 8, struct.pack("<H", 8)),
    "another method in the directory": lambda content: changed(content, b"PK\1\2", 10, struct.pack("<H", 8)),
    "an encrypted member": lambda content: changed(content, b"PK\1\2", 8, struct.pack("<H", 1)),
    "an encrypted header": lambda content: changed(content, b"PK\3\4", 6, struct.pack("<H", 1)),
    "another size in the header": lambda content: changed(content, b"PK\3\4", 22, struct.pack("<L", 4)),
    "another checksum in the header": lambda content: changed(content, b"PK\3\4", 14, b"\0\0\0\0"),
    "a checksum of nought everywhere": lambda content: changed(
        changed(content, b"PK\3\4", 14, b"\0\0\0\0"), b"PK\1\2", 16, b"\0\0\0\0"
    ),
    "another start in the directory": lambda content: changed(content, b"PK\1\2", 42, struct.pack("<L", 60)),
    "a member on another disk": lambda content: changed(content, b"PK\1\2", 34, struct.pack("<H", 1)),
    "a count that is too small": lambda content: changed(content, b"PK\5\6", 8, struct.pack("<HH", 1, 1)),
    "two counts": lambda content: changed(content, b"PK\5\6", 8, struct.pack("<H", 1)),
    "a directory that begins later": lambda content: changed(
        content, b"PK\5\6", 16, struct.pack("<L", end_of(content)[2] + 46)
    ),
    "sizes that are said in zip64": lambda content: changed(content, b"PK\1\2", 20, b"\xff" * 8),
}


@pytest.mark.parametrize("kind", READ_IN_TWO_WAYS)
def test_an_archive_that_two_programs_can_read_differently_is_refused(tmp_path: Path, kind: str, plain: bytes) -> None:
    file = tmp_path / "best.pt"
    file.write_bytes(READ_IN_TWO_WAYS[kind](plain))
    assert file.read_bytes() != plain
    with pytest.raises(RejectedModelError) as caught:
        scan(file, tmp_path / "checked.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "member",
    ["best/DATA.PKL", "other/data.pkl", "best/data/../x", "best/code/a.py", "best/constants.pkl", "best/data.pkl.7z",
     "best/x.npy", "best/", "../data/1", "/data/1", "best\\data\\1"],
)  # fmt: skip
def test_a_member_that_no_torch_save_writes_is_refused(tmp_path: Path, member: str) -> None:
    file = archive(tmp_path / "best.pt", HARMLESS)
    with zipfile.ZipFile(file, "a") as more:
        more.writestr(zipfile.ZipInfo(member), b"x")
    with pytest.raises(RejectedModelError):
        scan(file)


def test_what_is_written_again_holds_the_same_members_and_nothing_else(tmp_path: Path) -> None:
    checked = tmp_path / "checked.pt"
    scan(SAMPLE, checked)
    with zipfile.ZipFile(SAMPLE) as before, zipfile.ZipFile(checked) as after:
        assert after.namelist() == before.namelist()
        assert all(after.read(name) == before.read(name) for name in before.namelist())
    with checked.open("rb") as file:
        assert len(Archive(file, "checked").members) == len(before.namelist()), "ours is of the same form"


def test_a_file_that_is_larger_than_any_detector_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "MAX_BYTES", 100)
    with pytest.raises(UnreadableCheckpointError, match="of up to 100 is read"):
        scan(archive(tmp_path / "best.pt", HARMLESS))


def test_more_members_than_any_detector_has_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "MAX_MEMBERS", 3)
    with pytest.raises(UnreadableCheckpointError, match="at most 3 are read"):
        scan(archive(tmp_path / "best.pt", HARMLESS, {"data/0": b"x"}))


def test_a_pickle_that_is_larger_than_any_detectors_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "MAX_PICKLE_BYTES", len(HARMLESS) - 1)
    with pytest.raises(UnsafeModelError, match="no detector's has more"):
        scan(archive(tmp_path / "best.pt", HARMLESS))
