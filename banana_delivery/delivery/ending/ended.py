"""What is said of a delivery that has ended, and what of it is kept for a CI server's page."""

from __future__ import annotations

from pathlib import Path

from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Model, Outcome
from banana_delivery.policy.outcomes import CONSEQUENCES
from banana_delivery.quoting import in_markdown


class Ended(Model):
    """A delivery's end.

    Attributes:
        version: MLflow model version.
        outcome: how it ended.
        reason: why, in one sentence.
        url: the run in Dagster's pages.
        attempt: its line of the audit trail; None if there is none yet.
    """

    version: str
    outcome: Outcome
    reason: str
    url: str
    attempt: AttemptRecord | None = None

    @classmethod
    def logged(cls, attempt: AttemptRecord, url: str) -> Ended:
        """As the audit trail says it."""
        return cls(version=attempt.version, outcome=attempt.outcome, reason=attempt.reason, url=url, attempt=attempt)

    @property
    def exit_code(self) -> int:
        """Of the command that waited for it."""
        return CONSEQUENCES[self.outcome].exit_code

    @property
    def sentence(self) -> str:
        """It in one line."""
        return f"Version {self.version}: {self.outcome}. {self.reason}"

    @property
    def markdown(self) -> str:
        """A part of a page: what became of it, the figures, and each step."""
        lines = [
            f"### Version {in_markdown(self.version)}: {self.outcome.replace('_', ' ')}",
            "",
            in_markdown(self.reason),
        ]
        if self.attempt:
            lines += ["", *_figures(self.attempt), *_steps(self.attempt)]
        return "\n".join([*lines, "", f"Run: <{self.url}>", ""])

    def write(self, page: Path) -> None:
        """Add it to a page.

        Raises:
            OSError: if that cannot be written.
        """
        with page.open("a", encoding="utf-8") as file:
            file.write(f"{self.markdown}\n")


def _figures(attempt: AttemptRecord) -> list[str]:
    rows = {
        "Image": attempt.digest,
        "Production serves": attempt.serving_version and f"version {attempt.serving_version}",
        "Requests, failed": f"{attempt.requests:,}, {attempt.failed:,}" if attempt.requests else "",
        "Seconds": f"{attempt.seconds:,.0f}",
        "Seconds to roll back": "" if attempt.rollback_seconds is None else f"{attempt.rollback_seconds:.1f}",
        "Asked for by": attempt.actor,
    }
    return ["| | |", "|---|---|", *(f"| {name} | {in_markdown(text)} |" for name, text in rows.items() if text)]


def _steps(attempt: AttemptRecord) -> list[str]:
    if not attempt.steps:
        return []
    rows = [
        f"| {number} | {in_markdown(one.decision)} | {in_markdown(one.reason)} |"
        for number, one in enumerate(attempt.steps, 1)
    ]
    return ["", "| step | decision | why |", "|---|---|---|", *rows]
