"""The packages of an image's operating system, asked of an OSV database on this host."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from banana_delivery.images.scanning import Audit, LockScan
from banana_delivery.images.supply_chain.installed import Installed, debian_packages
from banana_delivery.images.supply_chain.system_audit import audit_system, together

STATUS = "".join(
    f"Package: {name}\nSource: {source}\nVersion: {version}\nArchitecture: amd64\n\n"
    for name, source, version in [
        ("libssl3", "openssl", "3.0.11-1"),
        ("openssl", "openssl", "3.0.11-1"),
        ("zlib1g", "zlib", "1.2.13"),
        ("bash", "bash", "5.2"),
    ]
)
INSIDE = Installed(brought=True, system=debian_packages(STATUS), distribution="debian", release="12")


def entry(name: str, package: str, fixes: dict[str, str | None], **more: Any) -> dict[str, Any]:
    """A vulnerability, with the version that mends it by release of Debian; None where there is none."""
    return {
        "id": name,
        "affected": [
            {
                "package": {"name": package, "ecosystem": f"Debian:{release}"},
                "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, *([{"fixed": fixed}] if fixed else [])]}
                ],
            }
            for release, fixed in fixes.items()
        ],
        **more,
    }


class Osv(BaseHTTPRequestHandler):
    """Answers what it was told of each package, page by page."""

    pages: ClassVar[dict[str, list[dict[str, Any]]]] = {}
    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(query)
        pages = self.pages.get(query["package"]["name"], [{}])
        page = int(query.get("page_token", 0))
        more = {"next_page_token": str(page + 1)} if page + 1 < len(pages) else {}
        body = json.dumps({**pages[page], **more}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


Database = Callable[[dict[str, list[dict[str, Any]]]], str]


@pytest.fixture
def database() -> Iterator[Database]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        Osv.asked.clear()

        def knows(pages: dict[str, list[dict[str, Any]]]) -> str:
            Osv.pages = pages
            return f"http://127.0.0.1:{server.server_port}/v1/query"

        yield knows
        server.shutdown()


def test_a_system_nothing_is_known_about_is_clean_and_each_source_was_asked_for_once(database: Database) -> None:
    found = audit_system(INSIDE, osv_url=database({}))

    assert found
    assert found.audit is Audit.CLEAN
    assert found.sentence == "No known vulnerability in 4 packages of the operating system."
    asked = sorted((one["package"]["name"], one["package"]["ecosystem"], one["version"]) for one in Osv.asked)
    assert asked == [
        ("bash", "Debian:12", "5.2"),
        ("openssl", "Debian:12", "3.0.11-1"),
        ("zlib", "Debian:12", "1.2.13"),
    ]


def test_what_a_newer_base_would_mend_counts_and_what_nobody_mended_is_said(database: Database) -> None:
    fixed = entry("DEBIAN-CVE-1", "openssl", {"11": None, "12": "3.0.14-1"}, upstream=["CVE-1"])
    # Mended in the next release of Debian only, which is no newer base of this one.
    unfixed = entry("DEBIAN-CVE-2", "zlib", {"12": None, "13": "1.3"})
    withdrawn = entry("DEBIAN-CVE-3", "bash", {"12": "5.3"}, withdrawn="2026-01-01T00:00:00Z")
    url = database(
        {"openssl": [{}, {"vulns": [fixed]}], "zlib": [{"vulns": [unfixed]}], "bash": [{"vulns": [withdrawn]}]}
    )

    found = audit_system(INSIDE, osv_url=url)

    assert found
    assert found.audit is Audit.VULNERABLE
    assert "openssl 3.0.11-1 (DEBIAN-CVE-1, fixed in 3.0.14-1)" in found.sentence
    assert "BANANA_BASE_IMAGE" in found.sentence
    assert "1 are known that have no fix" in found.sentence
    assert "zlib" not in found.sentence
    lived_with = audit_system(INSIDE, osv_url=url, accepted=["CVE-1"])
    assert lived_with
    assert lived_with.audit is Audit.CLEAN
    assert "besides 1 accepted" in lived_with.sentence


@pytest.mark.parametrize(
    "pages",
    [{"zlib": [{"vulns": [{}]}]}, {"zlib": [{"vulns": "none"}]}, {"zlib": [{"vulns": [{"id": "1", "affected": [1]}]}]}],
)
def test_a_database_that_answers_something_else_proves_nothing(
    pages: dict[str, list[dict[str, Any]]], database: Database
) -> None:
    found = audit_system(INSIDE, osv_url=database(pages))

    assert found
    assert found.audit is Audit.UNKNOWN
    assert "NOT CHECKED" in found.sentence


def test_a_database_whose_answer_never_ends_or_that_cannot_be_reached_proves_nothing(database: Database) -> None:
    for url in (database({"zlib": [{}] * 30}), "http://127.0.0.1:9/v1/query"):
        found = audit_system(INSIDE, osv_url=url)
        assert found
        assert found.audit is Audit.UNKNOWN


def test_a_system_that_nobody_can_look_up_is_not_checked_and_none_at_all_is_nothing_to_check() -> None:
    other = audit_system(Installed(brought=True, distribution="alpine", release="3.20"))

    assert other
    assert other.audit is Audit.UNKNOWN
    assert "alpine" in other.sentence
    assert audit_system(Installed(brought=True)) is None


def test_together_the_worst_counts_and_all_is_said() -> None:
    clean, unknown = LockScan(audited=3), LockScan(trouble="no route")

    assert together([clean, None]) == ("clean", clean.sentence)
    assert together([clean, unknown]) == ("unknown", f"{clean.sentence} {unknown.sentence}")
    assert together([None]) == ("", "")
