"""Every lock against a database of known vulnerabilities: ``python -m tools.audit``, or ``make audit``.

The pipeline asks the same of a release's packages before it lets it out (``banana_delivery.images.scanning``). Here it
is asked of all that `make` installs: the product, what tests and builds it, and the servers it is compared with.
``BANANA_OSV_URL`` names a mirror, ``BANANA_ACCEPTED_VULNERABILITIES`` what somebody decided to live with.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from banana_delivery.images.scanning import Audit, Finding, scan
from banana_delivery.settings import load_settings

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
SECONDS = 600.0
"""For one lock: the package index is asked about each of some 250 packages by itself."""

_PIN = re.compile(r"^[\w.\[\],-]+==\S+", re.MULTILINE)
BAD = (Audit.CLEAN, Audit.UNKNOWN, Audit.VULNERABLE)
"""From the best answer to the worst."""
EXIT_CODES = {Audit.CLEAN: 0, Audit.VULNERABLE: 1, Audit.UNKNOWN: 2}


def locks(folder: Path) -> list[Path]:
    """The locks that together name every package; one whose pins another has as well adds nothing.

    Args:
        folder: holds them.
    """
    pinned = {lock: set(_PIN.findall(lock.read_text())) for lock in sorted(folder.glob("*.txt"))}
    return [lock for lock, own in pinned.items() if not any(own < other for other in pinned.values())]


def audit(found: Sequence[Path], osv_url: str, accepted: Sequence[str], seconds: float = SECONDS) -> Audit:
    """Asks about each lock and prints what came out; ends with the first that cannot be asked about at all.

    Args:
        found: the locks.
        osv_url: a mirror's query address; empty: the package index's own database.
        accepted: ids that somebody decided to live with.
        seconds: how long one lock may take.

    Returns:
        The worst of the answers.
    """
    worst = Audit.CLEAN
    for lock in found:
        answer = scan(lock, osv_url=osv_url, accepted=accepted, seconds=seconds)
        print(f"{lock.parent.name}/{lock.name}: {answer.sentence}")
        for finding in answer.open_findings:
            print(f"  {_told(finding)}")
        worst = max(worst, answer.audit, key=BAD.index)
        if not answer.audited:  # nobody answers; the next lock would only say so once more
            break
    return worst


def _told(finding: Finding) -> str:
    fixed = f"fixed in {', '.join(finding.fixed_in)}" if finding.fixed_in else "not fixed yet"
    return f"{finding.package} {finding.version}: {', '.join(sorted({finding.id, *finding.aliases}))}, {fixed}"


def main() -> None:
    """Audits the checkout's locks and exits by what came out."""
    settings = load_settings()
    sys.exit(EXIT_CODES[audit(locks(REQUIREMENTS), settings.osv_url, settings.accepted_vulnerabilities)])


if __name__ == "__main__":
    main()
