"""What keeps deliveries out, as people are told."""

from __future__ import annotations

from pathlib import Path

from banana_delivery.policy.holds import FreezeRecord
from banana_delivery.reports.freezing import freeze_view
from banana_delivery.settings import Settings

NOW = 1_700_000_000.0
SAID = FreezeRecord(frozen=True, by="Bert", reason="The fair.", at=NOW - 60, until=NOW + 3600)


def test_where_the_policy_cannot_be_read_a_freeze_that_somebody_said_is_told_all_the_same(tmp_path: Path) -> None:
    """As in the pages on a cluster, where only those who release have the file."""
    settings = Settings(home=tmp_path, policy=str(tmp_path / "gone.yaml"))
    told = freeze_view(settings, SAID, NOW).plain
    assert "cannot be read" in told
    assert "Frozen (Bert until" in told
    assert "type: banana-delivery unfreeze" in told
    for said in (None, SAID.replace(until=NOW - 1)):
        told = freeze_view(settings, said, NOW).plain
        assert "cannot be read" in told
        assert "rozen" not in told
        assert "No freeze" not in told, "its calendar is not known"
