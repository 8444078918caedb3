from __future__ import annotations

import pytest

from banana_delivery.images.scanning import Audit, LockScan, read

CLEAN = {"name": "idna", "version": "3.20", "vulns": []}
SKIPPED = {"name": "numpy", "skip_reason": "Dependency not found"}
VULNERABLE = {
    "name": "jinja2",
    "version": "2.4.1",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.11.3"], "description": "text"}],
}


def test_a_lock_is_clean_only_if_every_package_was_audited() -> None:
    assert read({"dependencies": [CLEAN]}).audit is Audit.CLEAN
    assert read({"dependencies": [CLEAN, SKIPPED]}).audit is Audit.UNKNOWN
    assert read({"dependencies": []}).audit is Audit.UNKNOWN


def test_what_was_not_checked_says_so_in_capitals() -> None:
    assert "NOT CHECKED" in read({"dependencies": [CLEAN, SKIPPED]}).sentence
    assert "1 of 2 packages" in read({"dependencies": [CLEAN, SKIPPED]}).sentence
    assert "no route to host" in LockScan(trouble="no route to host").sentence


def test_a_finding_outweighs_what_could_not_be_audited_and_names_the_cure() -> None:
    found = read({"dependencies": [VULNERABLE, SKIPPED]})

    assert found.audit is Audit.VULNERABLE
    assert "jinja2 2.4.1 (PYSEC-1, fixed in 2.11.3)" in found.sentence


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-1"])
def test_an_accepted_finding_is_reported_and_does_not_block(name: str) -> None:
    found = read({"dependencies": [VULNERABLE]}, accepted=[name])

    assert found.audit is Audit.CLEAN
    assert "besides 1 accepted" in found.sentence
