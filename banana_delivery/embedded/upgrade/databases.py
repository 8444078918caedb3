"""The databases of MLflow and Dagster, brought to the form that the installed versions read.

Both refuse, or stumble over, a database that an older version of theirs made. A file beside it says which version was
the last to use it; where that is an older one, a copy is kept and the version's own migration runs, once.
"""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.version import InvalidVersion, Version

from banana_delivery.errors import StackError
from banana_delivery.files import write_atomically

MIGRATION_SECONDS = 600
_NOBODY = Version("0")


@dataclass(frozen=True)
class Database:
    """One that a package of somebody else's keeps.

    Attributes:
        package: whose it is, as its distribution is called.
        file: the SQLite file, which need not be there yet.
        migrate: the command that brings it forward, and changes nothing that is new enough.
    """

    package: str
    file: Path
    migrate: Sequence[str]

    def bring_forward(self, environment: Mapping[str, str]) -> None:
        """Migrate it if an older version was the last to use it.

        One that a newer version used is left alone: only that package knows whether it can be read, and says so.

        Raises:
            StackError: if the migration fails; the copy of before is beside it.
        """
        ours = Version(metadata.version(self.package))
        if self._used_by() >= ours:
            return
        if self.file.is_file():
            copy = self._copy(ours)
            done = subprocess.run(
                self.migrate, env=environment, capture_output=True, text=True, timeout=MIGRATION_SECONDS, check=False
            )
            if done.returncode != 0:
                said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
                raise StackError(
                    f"The database {self.file} cannot be brought to the form of {self.package} {ours}: {said}. "
                    f"{copy} holds it as it was."
                )
        self._note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._note, f"{ours}\n")

    @property
    def _note(self) -> Path:
        return self.file.with_name(f"{self.file.name}.version")

    def _used_by(self) -> Version:
        try:
            return Version(self._note.read_text().strip())
        except (FileNotFoundError, InvalidVersion):
            return _NOBODY

    def _copy(self, ours: Version) -> Path:
        """As it is now, whoever writes meanwhile; the first copy is the one that no migration has touched."""
        copy = self.file.with_name(f"{self.file.name}.before-{ours}")
        if not copy.exists():
            unfinished = copy.with_name(f"{copy.name}.part")
            unfinished.unlink(missing_ok=True)
            with closing(sqlite3.connect(self.file)) as source, closing(sqlite3.connect(unfinished)) as target:
                source.backup(target)
            unfinished.replace(copy)
        return copy
