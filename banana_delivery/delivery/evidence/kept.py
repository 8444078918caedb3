"""Keeping what a release looked at: gathered step by step, beside its report once that is written.

What cannot be kept is logged: nothing is decided by it.
"""

from __future__ import annotations

import gzip
import io
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from banana_delivery.policy.hindsight.looks import (
    KeptStep,
    Own,
    StepHeader,
    end_of,
    line_of,
    look_since,
    steps_in,
)
from banana_delivery.policy.model import Colour, TrafficSnapshot
from banana_delivery.policy.own_metrics.metric import OwnMetric, Usual
from banana_delivery.policy.rollout.analysis import StepState
from banana_delivery.policy.rollout.decision import Action, StepVerdict
from banana_delivery.quoting import in_path

LOG = logging.getLogger(__name__)
SUFFIX = ".looks.gz"
MOST_STEP_BYTES = 4 * 1024 * 1024
"""Of the lines of one step; a step of two ceilings of the usual plans has a tenth of it."""
MOST_FILE_BYTES = 1024 * 1024
"""Of all that is kept of a delivery, compressed; steps that begin after that are not kept."""
MOST_READ_BYTES = 64 * 1024 * 1024


def looks_folder(home: Path) -> Path:
    """Where looks of deliveries are that have no report yet."""
    return home / "looks"


def looks_beside(report: Path) -> Path:
    """Where the looks of an attempt are that has one."""
    return report.with_suffix(SUFFIX)


@dataclass
class LookBook:
    """Keeps the looks of one delivery.

    Attributes:
        file: where.
    """

    file: Path
    _lines: list[bytes] = field(default_factory=list)
    _bytes: int = 0
    _before: TrafficSnapshot | None = None
    _cut: bool = False

    def begin(
        self,
        state: StepState,
        candidate: Colour,
        digest: str,
        metrics: tuple[OwnMetric, ...],
        usual: dict[str, Usual],
        *,
        overridden: bool,
        first: bool,
    ) -> None:
        """A step begins.

        Args:
            state: of it.
            candidate: the colour that is judged.
            digest: what is meant to run there.
            metrics: the team's own.
            usual: how the active release stood by each in the steps before, by name.
            overridden: whether a person wants it out whatever production does.
            first: whether nothing serves yet.
        """
        self._lines, self._bytes, self._cut, self._before = [], 0, False, state.seen
        header = StepHeader(
            step=state.step,
            candidate=candidate,
            digest=digest,
            overridden=overridden,
            first=first,
            snapshot=state.seen,
            paired=state.paired,
            tried=state.tried,
            split=state.split,
            metrics=metrics,
            usual=usual,
        )
        self._add(line_of(header))

    def add(self, snapshot: TrafficSnapshot, *, paused: bool, own: Own) -> None:
        """One look at it."""
        if self._cut or self._before is None:
            return
        self._add(line_of(look_since(self._before, snapshot, paused=paused, own=own)))
        self._before = snapshot
        self._cut = self._bytes > MOST_STEP_BYTES

    def end(self, verdict: StepVerdict, action: Action) -> None:
        """It has ended: keep it."""
        self._add(line_of(end_of(verdict, action, cut=self._cut)))
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            if self.file.exists() and self.file.stat().st_size > MOST_FILE_BYTES:
                LOG.warning("%s is full: what was looked at in this step is not kept.", self.file)
                return
            with self.file.open("ab") as file:
                file.write(gzip.compress(b"\n".join(self._lines) + b"\n", mtime=0))
        except OSError as error:
            LOG.warning("What was looked at in a step could not be kept: %s", error)

    def _add(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)


def look_book(home: Path, run_id: str) -> LookBook:
    """Of a run."""
    return LookBook(looks_folder(home) / f"{in_path(run_id)}{SUFFIX}")


def keep_beside(report: Path, home: Path, run_id: str) -> None:
    """Put the looks of a run beside the report about it; of one that looked at nothing there are none."""
    if not run_id:
        return
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        look_book(home, run_id).file.replace(looks_beside(report))
    except FileNotFoundError:
        return
    except OSError as error:
        LOG.warning("What run %s looked at is not beside its report: %s", run_id, error)


def kept_steps(report: Path) -> Sequence[KeptStep]:
    """The steps of the attempt that a report is about; none where nothing was kept.

    Raises:
        ValueError: if what was kept cannot be read, in one clause.
    """
    try:
        with gzip.open(looks_beside(report), "rb") as file:
            text = file.read(MOST_READ_BYTES + 1)
    except FileNotFoundError:
        return []
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"what was looked at cannot be read ({error})") from None
    if len(text) > MOST_READ_BYTES:
        raise ValueError("what was looked at is larger than anything that was ever kept")
    try:
        return steps_in(io.BytesIO(text))
    except ValueError:
        raise ValueError("what was looked at was kept by another version, or is damaged") from None
