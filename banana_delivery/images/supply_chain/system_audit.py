"""Known vulnerabilities in the packages of an image's operating system, as an OSV database tells them.

A distribution lists many weaknesses that it has not mended, most of them because they are harmless there. Nobody could
deliver anything if those counted, so what counts is what somebody can do something about: a vulnerability for which
there is a fixed package. The others are counted and said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any, ClassVar

import httpx
from typing_extensions import override

from banana_delivery.images.scanning import Audit, Finding, LockScan
from banana_delivery.images.supply_chain.installed import Installed, SystemPackage

PUBLIC_OSV = "https://api.osv.dev/v1/query"
"""The database that the OSV project runs; its dumps can be served from anywhere."""
_AT_ONCE = 8
_PAGES = 20
"""Of an answer about one package; the longest seen has two."""
_ECOSYSTEMS = {"debian": "Debian"}
"""Operating systems whose packages are read and known, as OSV calls them."""


class SystemScan(LockScan):
    """What a scan of an operating system's packages found.

    Attributes:
        unfixed: vulnerabilities that the distribution has no fixed package for.
    """

    CURE: ClassVar[str] = "build on a newer base: pull BANANA_BASE_IMAGE again, or name another"
    WHAT: ClassVar[str] = "packages of the operating system"

    unfixed: int = 0

    @property
    @override
    def sentence(self) -> str:
        """The result for a person, with what to do."""
        rest = f" {self.unfixed} are known that have no fix there." if self.unfixed else ""
        return f"{super().sentence}{rest}"


def audit_system(
    installed: Installed, *, osv_url: str = "", accepted: Collection[str] = (), seconds: float = 60.0
) -> SystemScan | None:
    """Ask a vulnerability database about every package of an image's operating system.

    Args:
        installed: what is in the image.
        osv_url: query address of an OSV database, for example a mirror; empty: the public one.
        accepted: ids or aliases that somebody decided to live with.
        seconds: how long it may take.

    Returns:
        What was found; None if the image has no operating system of its own.
    """
    if not installed.system and not installed.distribution:
        return None
    family = _ECOSYSTEMS.get(installed.distribution)
    if family is None or not installed.system:
        name = installed.distribution or "an unknown operating system"
        return SystemScan(trouble=f"the packages of {name} cannot be looked up; only Debian's can")
    ecosystem = f"{family}:{installed.release}"
    by_source = {(one.source, one.source_version): one for one in installed.system}
    try:
        answers = _ask(osv_url or PUBLIC_OSV, ecosystem, list(by_source.values()), seconds)
        found = [
            finding
            for one, vulnerabilities in answers
            for finding in _findings(one, vulnerabilities, ecosystem, accepted)
        ]
    except TimeoutError:
        return SystemScan(trouble=f"the database did not answer within {seconds:.0f} s")
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        return SystemScan(trouble=f"the database does not answer as it should ({str(error)[:200] or repr(error)})")
    fixed = tuple(finding for finding in found if finding.fixed_in)
    return SystemScan(audited=len(installed.system), findings=fixed, unfixed=len(found) - len(fixed))


def together(scans: Collection[LockScan | None]) -> tuple[str, str]:
    """What several scans prove as one: the worst of them, and all of their sentences; empty without any."""
    made = [scan for scan in scans if scan is not None]
    for worst in (Audit.VULNERABLE, Audit.UNKNOWN, Audit.CLEAN):
        if any(scan.audit is worst for scan in made):
            return worst.value, " ".join(scan.sentence for scan in made)
    return "", ""


def _ask(
    url: str, ecosystem: str, packages: list[SystemPackage], seconds: float
) -> list[tuple[SystemPackage, list[dict[str, Any]]]]:
    """What the database knows of each package, some of them at a time.

    Raises:
        TimeoutError: if it takes too long.
        httpx.HTTPError: if it cannot be reached or refuses.
    """
    pool = ThreadPoolExecutor(_AT_ONCE)
    with httpx.Client(timeout=min(seconds, 10.0)) as client:
        try:
            asked: dict[Future[list[dict[str, Any]]], SystemPackage] = {
                pool.submit(_vulnerabilities, client, url, ecosystem, one): one for one in packages
            }
            return [(asked[future], future.result()) for future in as_completed(asked, timeout=seconds)]
        finally:
            # The first failure ends it: a database that is away is not asked a hundred times more.
            pool.shutdown(cancel_futures=True)


def _vulnerabilities(client: httpx.Client, url: str, ecosystem: str, one: SystemPackage) -> list[dict[str, Any]]:
    """Every page of what is known of a package's version."""
    query: dict[str, Any] = {"package": {"ecosystem": ecosystem, "name": one.source}, "version": one.source_version}
    found: list[dict[str, Any]] = []
    for _ in range(_PAGES):
        answer = client.post(url, json=query).raise_for_status().json()
        found += answer.get("vulns", [])
        if not (token := answer.get("next_page_token")):
            return found
        query["page_token"] = token
    raise ValueError(f"it does not come to an end about {one.source}")


def _findings(
    one: SystemPackage, vulnerabilities: list[dict[str, Any]], ecosystem: str, accepted: Collection[str]
) -> Iterator[Finding]:
    for vulnerability in vulnerabilities:
        if vulnerability.get("withdrawn"):
            continue
        aliases = (*vulnerability.get("aliases", ()), *vulnerability.get("upstream", ()))
        yield Finding(
            package=one.source,
            version=one.source_version,
            id=vulnerability["id"],
            aliases=aliases,
            fixed_in=tuple(_fixes(vulnerability, ecosystem, one.source)),
            accepted=not {vulnerability["id"], *aliases}.isdisjoint(accepted),
        )


def _fixes(vulnerability: dict[str, Any], ecosystem: str, source: str) -> Iterator[str]:
    """Versions of a package without a vulnerability, in the release of the distribution that was asked about."""
    for affected in vulnerability.get("affected", ()):
        package = affected["package"]
        if package["name"] == source and package["ecosystem"] in (ecosystem, ecosystem.partition(":")[0]):
            for span in affected.get("ranges", ()):
                yield from (str(event["fixed"]) for event in span["events"] if "fixed" in event)
