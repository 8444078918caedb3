"""The one form of zip archive that a checkpoint may have: what ``torch.save`` writes, byte after byte.

A zip archive can be read in two ways, from its end or from its beginning, and readers differ in which header they
believe. So nothing here searches: every byte of the file belongs to exactly one member or to the directory, both of
which say the same, and whatever could be read otherwise is refused. What is loaded later is an archive of our own
with the members that were read here.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from banana_delivery.errors import UnreadableCheckpointError, UnsafeModelError
from banana_delivery.quoting import cited

MAX_BYTES = 2 * 1024**3 - 1
"""Of the file: the largest detectors that ultralytics publishes have 0.3 GB; above 4 GiB archives have another form."""
MAX_MEMBERS = 20_000
"""The largest published detectors have about 2,000 tensors."""
MAX_PICKLE_BYTES = 16 * 1024**2
"""The pickles of published detectors have up to 0.7 MB."""
PICKLE = "data.pkl"
FOLDER = "best"
"""The folder of every archive that is written here."""
CHUNK = 1024**2

_LOCAL, _CENTRAL, _DESCRIPTOR, _END = b"PK\3\4", b"PK\1\2", b"PK\7\x08", b"PK\5\6"
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_CENTRAL_HEADER = struct.Struct("<4s6H3L5H2L")
_DESCRIPTOR_RECORD = struct.Struct("<4s3L")
_END_RECORD = struct.Struct("<4s4H2LH")
_END64_RECORD = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_RECORD = struct.Struct("<4sLQL")
_FOLLOWED, _UTF8 = 0x8, 0x800
_PADDING = b"FB"
"""The extra field with which torch puts each tensor on a round address."""
_MEMBER = re.compile(
    r"(data\.pkl|version|byteorder|\.format_version|\.storage_alignment|data/\d{1,6}|\.data/serialization_id)"
)
_FOLDER_NAME = re.compile(r"[\w.()+-][\w .()+-]{0,199}", re.ASCII)

HEAD = 512
"""Bytes by which other kinds of files are told; tar writes its name last of all."""
OTHER_KINDS = (
    (rb"version https://git-lfs", "a pointer of Git LFS and not the file: run `git lfs pull`, then log best.pt again"),
    (rb"\s*<(?i:!doctype|html|\?xml)", "a page that a server sent instead of a file: download best.pt again"),
    (rb"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", "what torch wrote before 1.6: load it, and torch.save it again"),
    (rb"\x08[\x01-\x20]\x12.pytorch", "an ONNX export: register the best.pt that it was made from"),
    (rb".{6}\0\0\{\s*\"", "a safetensors file, weights without their network: register the best.pt of a training"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|.{257}ustar", "packed into another file: unpack it, then log best.pt again"),
)
"""What people hand in by mistake: how it begins, and what to say of it."""


@dataclass(frozen=True)
class Member:
    """A member of the archive.

    Attributes:
        name: as it is in the file, with the archive's folder.
        start: where its header begins.
        size: bytes of its content, which is stored as it is.
        crc: of its content.
        flags: the header's.
    """

    name: str
    start: int
    size: int
    crc: int
    flags: int

    @property
    def inner(self) -> str:
        """The name within the archive's folder."""
        return self.name.partition("/")[2]


class Archive:
    """An open checkpoint whose form was found right. Reading a member checks its content.

    Args:
        file: open for reading.
        name: how messages call it.

    Raises:
        UnreadableCheckpointError: if it is no whole archive of that form.
        UnsafeModelError: if two readers could read it differently.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self.size = file.seek(0, 2)
        if not self.size:
            raise UnreadableCheckpointError(f"{name} is empty: log best.pt again and register a new version.")
        if self.size > MAX_BYTES:
            raise UnreadableCheckpointError(
                f"{name} has {self.size:,} bytes, and a checkpoint of up to {MAX_BYTES:,} is read: register a smaller "
                "model."
            )
        directory, self._directory_start, count = self._directory()
        self.members = tuple(self._entries(directory))
        if len(self.members) != count:
            raise self._ambiguous("its directory holds another number of members than it says")
        self._check_names()
        self._starts = self._check_headers()

    def pickle(self) -> bytes:
        """The one pickle.

        Raises:
            UnreadableCheckpointError: if it is damaged or larger than any detector's.
        """
        (member,) = (member for member in self.members if member.inner == PICKLE)
        if member.size > MAX_PICKLE_BYTES:
            raise UnsafeModelError(
                f"The pickle in {self._name} has {member.size:,} bytes, and no detector's has more than "
                f"{MAX_PICKLE_BYTES:,}, so it was not loaded: find out who made this file."
            )
        return b"".join(self._content(member))

    def verify(self) -> None:
        """Read every member.

        Raises:
            UnreadableCheckpointError: if one is damaged.
        """
        for member in self.members:
            for _ in self._content(member):
                pass

    def write_again(self, to: Path) -> None:
        """Write an archive of our own with the same members: what was checked here is what is loaded.

        Raises:
            UnreadableCheckpointError: if a member is damaged.
        """
        with zipfile.ZipFile(to, "w", zipfile.ZIP_STORED) as archive:
            for member in self.members:
                info = zipfile.ZipInfo(f"{FOLDER}/{member.inner}")
                info.file_size = member.size
                with archive.open(info, "w") as file:
                    for part in self._content(member):
                        file.write(part)

    def _content(self, member: Member) -> Iterator[bytes]:
        self._file.seek(self._starts[member.name])
        left, crc = member.size, 0
        while left:
            part = self._file.read(min(CHUNK, left))
            if not part:
                raise self._broken(f"it ends within {member.name}")
            left, crc = left - len(part), zlib.crc32(part, crc)
            yield part
        if crc != member.crc:
            raise UnreadableCheckpointError(
                f"{self._name} is damaged at {member.name}: log best.pt again and register a new version."
            )

    def _directory(self) -> tuple[bytes, int, int]:
        """The directory, its start and how many members it is said to have; all that is behind it says the same."""
        end_start = self.size - _END_RECORD.size
        tail = self._read(max(end_start - _LOCATOR_RECORD.size - _END64_RECORD.size, 0), self.size)
        if len(tail) < _END_RECORD.size or not tail[-_END_RECORD.size :].startswith(_END):
            raise self._broken("it does not end as an archive does")
        _, disk, first, here, count, length, start, comment = _END_RECORD.unpack(tail[-_END_RECORD.size :])
        if disk or first or here != count or comment:
            raise self._ambiguous("its end record speaks of other disks or of a comment")
        end = start + length
        if end != end_start:
            self._check_end64(tail, end, count, length, start)
        if not 0 < count <= MAX_MEMBERS:
            raise self._broken(f"it has {count} members, and at most {MAX_MEMBERS:,} are read")
        return self._read(start, end), start, count

    def _check_end64(self, tail: bytes, end: int, count: int, length: int, start: int) -> None:
        """The second pair of end records, which torch writes always, may only repeat what the first one says."""
        size64 = _END64_RECORD.size - 12
        expected64 = (b"PK\6\6", size64, count, count, length, start)
        record = tail[: -_END_RECORD.size]
        if (
            end + len(record) != self.size - _END_RECORD.size
            or len(record) != _END64_RECORD.size + _LOCATOR_RECORD.size
        ):
            raise self._ambiguous("something lies between its directory and its end")
        signature, size, _, _, disk, first, here, total, length64, start64 = _END64_RECORD.unpack(
            record[: _END64_RECORD.size]
        )
        said = (signature, size, here, total, length64, start64)
        locator = _LOCATOR_RECORD.unpack(record[_END64_RECORD.size :])
        if said != expected64 or disk or first or locator != (b"PK\6\7", 0, end, 1):
            raise self._ambiguous("its two end records do not say the same")

    def _entries(self, directory: bytes) -> Iterator[Member]:
        at = 0
        while at < len(directory):
            if len(directory) - at < _CENTRAL_HEADER.size:
                raise self._broken("its directory is cut off")
            head = _CENTRAL_HEADER.unpack_from(directory, at)
            signature, _, _, flags, method, _, _, crc, packed, size, name_length, extra, comment, disk, _, _, start = (
                head
            )
            if signature != _CENTRAL:
                raise self._broken("its directory holds something else")
            if extra or comment or disk or packed != size or method or flags & ~(_FOLLOWED | _UTF8):
                raise self._ambiguous("a member is packed or described in a way that torch does not use")
            at += _CENTRAL_HEADER.size
            raw = directory[at : at + name_length]
            at += name_length
            if len(raw) != name_length or not raw.isascii():
                raise self._ambiguous("a member's name is not plain")
            yield Member(raw.decode(), start, size, crc, flags)

    def _check_names(self) -> None:
        names = [member.name for member in self.members]
        # In capitals or not: torch's reader looks names up without regard to that.
        if len({name.lower() for name in names}) != len(names):
            raise UnsafeModelError(
                f"{self._name} holds two members of one name, which no torch.save writes: do not use it."
            )
        pickles = [name for name in names if PurePosixPath(name).suffix.lower() == ".pkl"]
        if [name.partition("/")[2] for name in pickles] != [PICKLE]:
            raise UnreadableCheckpointError(
                f"{self._name} is not what torch.save makes of an ultralytics model (pickles: "
                f"{cited(', '.join(pickles)) if pickles else 'none'}): register the best.pt of a training run."
            )
        folders = {name.partition("/")[0] for name in names}
        odd = [member.name for member in self.members if not _MEMBER.fullmatch(member.inner)]
        if odd or len(folders) != 1 or not _FOLDER_NAME.fullmatch(folders.pop()):
            raise self._ambiguous(f"it holds {odd[0]!r}" if odd else "its members do not share one plain folder")

    def _check_headers(self) -> dict[str, int]:
        """Walk the file from its first byte: each member begins where the one before it ended; where contents start."""
        at, starts = 0, {}
        for member in sorted(self.members, key=lambda one: one.start):
            if member.start != at:
                raise self._ambiguous(f"something lies before {member.name}, or in two members")
            at += self._check_header(member)
            starts[member.name] = at
            at += member.size
            if member.flags & _FOLLOWED:
                said = self._read(at, at + _DESCRIPTOR_RECORD.size)
                if said != _DESCRIPTOR_RECORD.pack(_DESCRIPTOR, member.crc, member.size, member.size):
                    raise self._ambiguous(f"what follows {member.name} describes another member")
                at += _DESCRIPTOR_RECORD.size
        if at != self._directory_start:
            raise self._ambiguous("something lies between its members and its directory")
        return starts

    def _check_header(self, member: Member) -> int:
        """The length of a member's own header, which must say what the directory says."""
        raw = self._read(member.start, member.start + _LOCAL_HEADER.size)
        if len(raw) != _LOCAL_HEADER.size:
            raise self._broken(f"it ends within {member.name}")
        signature, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL_HEADER.unpack(raw)
        names_end = member.start + _LOCAL_HEADER.size + name_length
        name = self._read(member.start + _LOCAL_HEADER.size, names_end)
        extra = self._read(names_end, names_end + extra_length)
        figures = {(member.crc, member.size, member.size)}
        if member.flags & _FOLLOWED:
            figures.add((0, 0, 0))
        same = (signature, flags, method, name) == (_LOCAL, member.flags, 0, member.name.encode())
        if not same or (crc, packed, size) not in figures or len(extra) != extra_length:
            raise self._ambiguous(f"the header of {member.name} is not what the directory says")
        padding = len(extra) >= 4 and extra[:2] == _PADDING and struct.unpack("<H", extra[2:4])[0] == extra_length - 4
        if extra and not padding:
            raise self._ambiguous(f"the header of {member.name} has a field that torch does not write")
        return _LOCAL_HEADER.size + len(name) + len(extra)

    def _read(self, start: int, end: int) -> bytes:
        self._file.seek(start)
        return self._file.read(max(end - start, 0))

    def _broken(self, why: str) -> UnreadableCheckpointError:
        head = self._read(0, HEAD)
        for begins, kind in OTHER_KINDS:
            if re.match(begins, head, re.DOTALL):
                return UnreadableCheckpointError(f"{self._name} is no checkpoint but {kind}.")
        return UnreadableCheckpointError(
            f"{self._name} is no whole torch checkpoint ({self.size:,} bytes, {why}): it was cut short or is another "
            "kind of file, so log best.pt again and register a new version."
        )

    def _ambiguous(self, why: str) -> UnsafeModelError:
        return UnsafeModelError(
            f"{self._name} is not packed as torch.save packs it ({why}), so that two programs could read two things in "
            "it; it was not loaded: register the best.pt of a training run as it was written."
        )
