"""Answers of a digest to a set of labelled images, kept on disk: the same image gives the same answers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from banana_delivery.policy.matching import Matches

ARRAYS = ("truths", "image", "klass", "score", "hit")


class AnswerCache:
    """One file a digest; a file that cannot be read counts as missing.

    Args:
        directory: of one set of labelled images.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, digest: str) -> Matches | None:
        """The answers of a digest, if they are kept."""
        try:
            with np.load(self._file(digest), allow_pickle=False) as kept:
                return Matches(
                    names=tuple(kept["names"].tolist()),
                    class_names=tuple(kept["class_names"].tolist()),
                    **{name: kept[name] for name in ARRAYS},
                )
        except (OSError, KeyError, ValueError):
            return None

    def put(self, digest: str, matches: Matches) -> None:
        """Keep the answers of a digest; a reader never sees half a file."""
        self._directory.mkdir(parents=True, exist_ok=True)
        arrays = {name: getattr(matches, name) for name in ARRAYS}
        with tempfile.NamedTemporaryFile(dir=self._directory, delete=False) as file:
            np.savez_compressed(
                file, names=np.array(matches.names), class_names=np.array(matches.class_names), **arrays
            )
        Path(file.name).replace(self._file(digest))

    def _file(self, digest: str) -> Path:
        return self._directory / f"{digest.removeprefix('sha256:')}.npz"
