"""The keys with which records are signed: a file that only those who write records can read.

Each line is a key in hexadecimal form. The first one signs and all of them are accepted, so that a key is replaced by
putting a new one above it, and taken out once nothing that counts is signed with it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from banana_delivery.errors import EvidenceError
from banana_delivery.files import bytes_sha256, write_once

NAME = "evidence.keys"
"""In the home, where no setting names another file."""
PAGES_NAME = "pages.keys"
"""The same of what is asked on the page of deliveries, which has these keys and not the others."""
KEY_BYTES = 32
"""As many as a sha256 has; a longer key adds nothing, a shorter one can be guessed sooner."""
OTHERS = 0o027
"""A Secret is mounted for the group of its pod to read; nobody else may, and nobody may write but the owner."""
_OF_THIS_PROCESS = secrets.token_bytes(KEY_BYTES)


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        secret: what signs.
    """

    secret: bytes

    @property
    def name(self) -> str:
        """What signatures call it, from which it cannot be guessed."""
        return bytes_sha256(b"name of " + self.secret)[:8]


@dataclass(frozen=True)
class EvidenceKeys:
    """Where the keys are.

    Attributes:
        file: holds them; None: a key that ends with this process.
        named: whether a setting names the file, so that it is somebody's to make.
        variable: that names it.
        apart_from: keys of which these may be none, since they are worth more; None if there are none such.
        shows: whether signatures are taken as they stand where there are no keys.
    """

    file: Path | None = None
    named: bool = False
    variable: str = "BANANA_EVIDENCE_KEY_FILE"
    apart_from: EvidenceKeys | None = None
    shows: bool = False

    def signing(self) -> Key:
        """The key that signs; made at its first use, unless a setting names its file.

        Raises:
            EvidenceError: if it cannot be had.
        """
        if self.file and self.to_be_made:
            _make(self.file)
        return self.accepted()[0]

    @property
    def to_be_made(self) -> bool:
        """Whether the first record makes the first key."""
        return self.file is not None and not self.named and not self.file.exists()

    def refuse_unusable(self) -> None:
        """Look whether something could be signed, and make nothing.

        Raises:
            EvidenceError: if it could not.
        """
        if not self.to_be_made:
            self.accepted()

    @property
    def identity(self) -> str:
        """By what a process knows these keys again, and what they signed; empty if they cannot be had."""
        try:
            return ",".join(key.name for key in self.accepted())
        except EvidenceError:
            return ""

    def accepted(self) -> list[Key]:
        """Every key whose signatures are believed, the signing one first.

        Raises:
            EvidenceError: if there is none, the file cannot be used, or a key of it is one that it may not be.
        """
        self.refuse_shared()
        return self._read()

    def refuse_shared(self) -> None:
        """Look whether one of these keys signs what is worth more; who has but one of the two files cannot tell.

        Raises:
            EvidenceError: if it does.
        """
        if self.apart_from is None:
            return
        try:
            shared = {key.secret for key in self._read()} & {key.secret for key in self.apart_from._read()}
        except EvidenceError:
            return
        if shared:
            files = " and ".join(sorted({str(self.file), str(self.apart_from.file)}))
            raise EvidenceError(
                f"The page of deliveries asks by a key that signs records, too ({files}), so whoever takes the page "
                f"over could forge them: give it a file of its own ({self.variable}), with another key made by: "
                f"openssl rand -hex {KEY_BYTES}"
            )

    def _read(self) -> list[Key]:
        if self.file is None:
            return [Key(_OF_THIS_PROCESS)]
        try:
            state = self.file.stat()
            if state.st_mode & OTHERS:
                raise EvidenceError(f"{self.file} is open to other users; type: chmod 600 {self.file}")
            lines = _lines(self.file, state.st_ino, state.st_ctime_ns, state.st_size)
        except FileNotFoundError as error:
            raise EvidenceError(self._missing) from error
        except (OSError, UnicodeDecodeError) as error:
            raise EvidenceError(f"The keys that sign records cannot be read from {self.file}: {error}") from error
        keys = [self._key(line) for text in lines if (line := text.strip()) and not line.startswith("#")]
        if not keys:
            raise EvidenceError(f"{self.file} holds no key; make one by: openssl rand -hex {KEY_BYTES}")
        return keys

    def _key(self, line: str) -> Key:
        try:
            secret = bytes.fromhex(line)
        except ValueError:
            secret = b""
        if len(secret) < KEY_BYTES:
            # What stands there stays unsaid: it may be a key with one letter too few.
            raise EvidenceError(
                f"A line of {self.file} is no key of {KEY_BYTES} bytes in hexadecimal form; make one by: "
                f"openssl rand -hex {KEY_BYTES}"
            )
        return Key(secret)

    @property
    def _missing(self) -> str:
        if self.named:
            return (
                f"There is no {self.file}, which {self.variable} names; put the keys there that the other "
                "machines of this pipeline have, or make the first one: openssl rand -hex 32"
            )
        return f"There is no {self.file} yet; the first record that is signed makes it."


@lru_cache(maxsize=2)
def _lines(file: Path, *_of_this_state: int) -> list[str]:
    """What a file holds, read once for each state that it is seen in: every line of the audit trail asks for it."""
    return file.read_text("ascii").splitlines()


def _make(file: Path) -> None:
    """Make a file with one new key, whole or not at all; whoever comes second finds the key of the first.

    Raises:
        EvidenceError: if it cannot be made.
    """
    try:
        write_once(file, f"{secrets.token_hex(KEY_BYTES)}\n")
    except OSError as error:
        raise EvidenceError(f"A key that signs records cannot be made in {file}: {error}") from error
