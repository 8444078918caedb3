"""The databases of MLflow and Dagster, brought to the form that the installed versions read.

Both refuse, or stumble over, a database that an older version of theirs made. A note beside it says which version was
the last to use it; where that is an older one, a copy is kept and the version's own migration runs, once.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from itertools import count
from pathlib import Path

from packaging.version import InvalidVersion, Version

from banana_delivery.errors import StackError
from banana_delivery.files import write_atomically

MIGRATION_SECONDS = 3600
_NOBODY = Version("0")


@dataclass(frozen=True)
class Database:
    """One that a package of somebody else's keeps.

    Attributes:
        package: whose it is, as its distribution is called.
        folder: where its files lie.
        files: which they are, as patterns below it; all are SQLite.
        migrate: the command that brings it forward, and changes nothing that is new enough.
    """

    package: str
    folder: Path
    files: Sequence[str]
    migrate: Sequence[str]

    @property
    def is_behind(self) -> bool:
        """Whether ``bring_forward`` would migrate it."""
        return self._used_by() < self._ours and any(self._found())

    def bring_forward(self, environment: Mapping[str, str]) -> None:
        """Migrate it if an older version was the last to use it.

        One that a newer version used is left alone: only that package knows whether it can be read, and says so. From
        then on this version was the last, since what it reads may be a copy that was put back.

        Raises:
            StackError: if it cannot be copied or migrated; a copy of before is beside it then.
        """
        if self._used_by() == self._ours:
            return
        if self.is_behind:
            self._migrate(environment, self._copy())
        self._note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._note, f"{self._ours}\n")

    def _migrate(self, environment: Mapping[str, str], copy: Path) -> None:
        try:
            done = subprocess.run(
                self.migrate, env=environment, capture_output=True, text=True, timeout=MIGRATION_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise self._failed(f"it did not end within {MIGRATION_SECONDS} s", copy) from None
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise self._failed(said, copy)

    def _failed(self, why: str, copy: Path) -> StackError:
        return StackError(
            f"The database in {self.folder} cannot be brought to the form of {self.package} {self._ours}: "
            f"{why.rstrip('.')}. {copy} holds it as it was before."
        )

    @property
    def _ours(self) -> Version:
        return Version(metadata.version(self.package))

    @property
    def _note(self) -> Path:
        return self.folder / f"{self.package}.version"

    def _used_by(self) -> Version:
        try:
            return Version(self._note.read_text().strip())
        except (FileNotFoundError, InvalidVersion):
            return _NOBODY

    def _found(self) -> Iterator[Path]:
        return (file for pattern in self.files for file in sorted(self.folder.glob(pattern)))

    def _copy(self) -> Path:
        """As it is now, whoever writes meanwhile, in a new folder: people may have gone on since the last try."""
        names = (f"before-{self._ours}{f'.{number}' if number > 1 else ''}" for number in count(1))
        copy = next(folder for name in names if not (folder := self.folder / name).exists())
        unfinished = self.folder / f"{copy.name}.part"
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            for file in self._found():
                target = unfinished / file.relative_to(self.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(target)) as writes:
                    source.backup(writes)
            unfinished.replace(copy)
        except (sqlite3.Error, OSError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise StackError(
                f"The database in {self.folder} is of an older {self.package} and cannot be copied to {copy} before "
                f"it is migrated: {error}. Nothing was changed; make room, or remove what is in the way."
            ) from error
        return copy
