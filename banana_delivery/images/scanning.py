"""Known vulnerabilities in the packages that a release brings with it, as pip-audit finds them.

Three answers, never two: a database that cannot be asked, or does not know a package, proves nothing, and must not look
like a pass.

Recognising files that a loader would unpickle: by their name, and by their content whatever they are called.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar

from banana_delivery.images.layers import tar_members
from banana_delivery.policy.model import Model

_NAMED = 5


class Audit(StrEnum):
    """What a scan proves."""

    CLEAN = "clean"
    VULNERABLE = "vulnerable"
    UNKNOWN = "unknown"


class Finding(Model):
    """One known vulnerability of one pinned package.

    Attributes:
        package: name.
        version: as pinned.
        id: the database's id.
        aliases: other ids, for example CVE numbers.
        fixed_in: versions without it; empty if there is none yet.
        accepted: whether somebody decided to live with it.
    """

    package: str
    version: str
    id: str
    aliases: tuple[str, ...] = ()
    fixed_in: tuple[str, ...] = ()
    accepted: bool = False


class LockScan(Model):
    """What a scan of packages found.

    Attributes:
        audited: number of packages that the database knows.
        not_audited: packages that it could not say anything about.
        findings: what is known, accepted or not.
        trouble: why the scan as a whole could not be made; empty if it was.
    """

    CURE: ClassVar[str] = "update requirements/serving.in and lock again"
    WHAT: ClassVar[str] = "packages"
    AGAIN: ClassVar[str] = "Scan again when the database can be reached"

    audited: int = 0
    not_audited: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    trouble: str = ""

    @property
    def open_findings(self) -> list[Finding]:
        """The vulnerabilities that nobody accepted."""
        return [finding for finding in self.findings if not finding.accepted]

    @property
    def audit(self) -> Audit:
        """What it proves: one open vulnerability is enough, but clean needs every package."""
        if self.open_findings:
            return Audit.VULNERABLE
        return Audit.UNKNOWN if self.trouble or self.not_audited or not self.audited else Audit.CLEAN

    @property
    def sentence(self) -> str:
        """The result for a person, with what to do."""
        if self.audit is Audit.VULNERABLE:
            return f"Known vulnerabilities: {_list(self.open_findings)}; {self.CURE}."
        if self.trouble:
            return f"NOT CHECKED for known vulnerabilities: {self.trouble}. {self.AGAIN}."
        if self.audit is Audit.UNKNOWN:
            return (
                f"NOT CHECKED for known vulnerabilities: the database knows {self.audited} of "
                f"{self.audited + len(self.not_audited)} {self.WHAT}; see whether this host reaches the public one."
            )
        accepted = f" besides {len(self.findings)} accepted" if self.findings else ""
        return f"No known vulnerability in {self.audited} {self.WHAT}{accepted}."


class OtherLock(LockScan):
    """What today's lock says of an image that was built for another one: nothing."""

    AGAIN: ClassVar[str] = "Publish the model as a new version to deliver it with today's lock"

    trouble: str = "the image was built for another lock than today's"


def scan(lock: Path, *, osv_url: str = "", accepted: Collection[str] = (), seconds: float = 120.0) -> LockScan:
    """Ask a vulnerability database about every package that a lock pins.

    Args:
        lock: requirements with hashes.
        osv_url: query address of an OSV database, for example a mirror; empty: the package index's own.
        accepted: ids or aliases that somebody decided to live with.
        seconds: how long it may take.
    """
    service = ["--vulnerability-service", "osv", "--osv-url", osv_url] if osv_url else []
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip"]
    options = ["--format", "json", "--progress-spinner", "off", "--timeout", "10", *service]
    try:
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return LockScan(trouble=f"the database did not answer within {seconds:.0f} s")
    try:
        return read(json.loads(done.stdout), accepted)
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip().splitlines() or ["pip-audit said nothing"]
        return LockScan(trouble=said[-1][:300])


def read(report: dict[str, Any], accepted: Collection[str] = ()) -> LockScan:
    """What pip-audit's JSON report says.

    Raises:
        KeyError: if it is no such report.
    """
    known = [dependency for dependency in report["dependencies"] if "vulns" in dependency]
    return LockScan(
        audited=len(known),
        not_audited=tuple(dependency["name"] for dependency in report["dependencies"] if "skip_reason" in dependency),
        findings=tuple(
            _finding(dependency, vulnerability, accepted)
            for dependency in known
            for vulnerability in dependency["vulns"]
        ),
    )


def _finding(dependency: dict[str, Any], vulnerability: dict[str, Any], accepted: Collection[str]) -> Finding:
    names = {vulnerability["id"], *vulnerability.get("aliases", ())}
    return Finding(
        package=dependency["name"],
        version=dependency["version"],
        id=vulnerability["id"],
        aliases=tuple(vulnerability.get("aliases", ())),
        fixed_in=tuple(vulnerability.get("fix_versions", ())),
        accepted=not names.isdisjoint(accepted),
    )


def _list(findings: list[Finding]) -> str:
    named = [
        f"{finding.package} {finding.version} ({finding.id}"
        f"{', fixed in ' + finding.fixed_in[0] if finding.fixed_in else ''})"
        for finding in findings[:_NAMED]
    ]
    more = f" and {len(findings) - _NAMED} more" if len(findings) > _NAMED else ""
    return ", ".join(named) + more


_SUFFIXES = {".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt"}
_PROTOCOLS = {b"\x80" + bytes([protocol]) for protocol in range(2, 6)}


def pickles_in(tar: tarfile.TarFile) -> list[str]:
    """The files of a layer that are pickles, or archives that hold one (as torch writes them).

    Raises:
        ValueError: if the layer holds anything but plain files and directories.
    """
    return [member.name for member in tar_members(tar) if member.isreg() and _is_pickle(tar, member)]


def _is_pickle(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
    content = tar.extractfile(member)
    return content is not None and is_pickle(member.name, content)


def is_pickle(name: str, content: IO[bytes]) -> bool:
    """Whether a seekable file is a pickle, or an archive with one inside."""
    if PurePosixPath(name).suffix.lower() in _SUFFIXES:
        return True
    if content.read(2) in _PROTOCOLS:
        content.seek(-1, io.SEEK_END)
        return content.read(1) == b"."
    content.seek(0)
    if not zipfile.is_zipfile(content):
        return False
    content.seek(0)
    with zipfile.ZipFile(content) as archive:
        return any(PurePosixPath(entry).suffix.lower() in _SUFFIXES for entry in archive.namelist())
