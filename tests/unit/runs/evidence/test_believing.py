"""Whose records count: attacks on the audit trail as the pages allow them, and worse ones."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import typing_extensions as typing_

from banana_delivery.errors import EvidenceError
from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, ImageRecord, ManualDecision
from banana_delivery.policy.gate import standing_override
from banana_delivery.policy.holds import FreezeRecord
from banana_delivery.policy.model import SCHEMA, ImageRef, Outcome
from banana_delivery.policy.outcomes import is_redeploy, is_revoked
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.evidence import reading
from banana_delivery.runs.evidence.keys import EvidenceKeys
from banana_delivery.runs.evidence.signing import SIGNATURE_KEY, Origin, doubt_about, sign
from banana_delivery.runs.records import RECORD_KEY, signed_metadata, to_metadata

DIGEST = f"sha256:{'1' * 64}"
REPORT = Path("report.html")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AuditLog]:
    """An empty trail, in a process that has read none: what it said of an event it says once, whosever that was."""
    monkeypatch.setattr(reading, "_told", set())
    monkeypatch.setattr(reading, "_verified", {})
    with dg.DagsterInstance.ephemeral() as instance:
        yield AuditLog(instance, CodeLocation(evidence=EvidenceKeys(tmp_path / "evidence.keys")))


def released(version: str = "1", run_id: str = "run") -> AttemptRecord:
    return AttemptRecord(version=version, outcome=Outcome.RELEASED, reason="So.", digest=DIGEST, at=1.0, run_id=run_id)


def revoked(version: str = "1", run_id: str = "bad") -> AttemptRecord:
    return released(version, run_id).replace(outcome=Outcome.ROLLED_BACK, revoked=True)


def override(version: str = "1") -> ManualDecision:
    return ManualDecision(
        kind=DecisionKind.OVERRIDE, version=version, digest=DIGEST, by="claimed by ada on host", reason="So.", at=1.0
    )


def said(log: AuditLog, *, observed: bool) -> dict[str, Any]:
    """The metadata of the latest event, as anybody can read it."""
    of = dg.AssetRecordsFilter(asset_key=log.location.key("rollout_log"))
    fetch = log.instance.fetch_observations if observed else log.instance.fetch_materializations
    (event,) = fetch(of, limit=1).records
    holder = event.asset_observation if observed else event.asset_materialization
    assert holder
    return dict(holder.metadata)


def report(
    log: AuditLog, metadata: dict[str, Any], version: str, *, observed: bool, asset: str = "rollout_log"
) -> None:
    """What the pages' report of an asset event does."""
    event = dg.AssetObservation if observed else dg.AssetMaterialization
    key = log.location.key(asset)
    log.instance.report_runless_asset_event(event(asset_key=key, partition=version, metadata=metadata))


def test_what_we_wrote_counts(log: AuditLog) -> None:
    log.log(released(), REPORT)
    log.record_decision(override())
    assert is_redeploy(log.attempts("1"))
    assert standing_override(DIGEST, history=(), decisions=log.decisions("1"))


def test_a_forged_override_and_a_forged_release_count_for_nothing_and_that_is_said(
    log: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        report(log, to_metadata(override()), "1", observed=True)
        report(log, to_metadata(released()), "1", observed=False)
        assert log.decisions("1") == []
        assert log.attempts("1") == []
    assert "of version 1 (event 1) counts for nothing: it bears no signature" in caplog.text
    assert "banana-delivery adopt-records" in caplog.text
    assert log.attempt_of("run", "1") is None, "or a stranger's line would keep ours out"


@pytest.mark.parametrize(
    "signature", [{}, "x", None, {"key": None, "hmac": None}, {"key": 7, "hmac": [], "after": "x"}]
)
def test_a_signature_that_is_none_crashes_nobody(log: AuditLog, signature: Any) -> None:
    log.log(released(), REPORT)
    forged = {**to_metadata(released("2")), "signature": dg.MetadataValue.json(signature)}
    report(log, forged, "2", observed=False)
    assert log.attempts("2") == []
    assert [one.version for one in log.attempts()] == ["1"]


def test_a_signature_that_is_no_text_crashes_nobody_either(log: AuditLog) -> None:
    """By the name of our key, which stands beside every record: half a character is one that no encoding has."""
    log.log(released(), REPORT)
    ours = said(log, observed=False)["signature"].value
    forged = {**to_metadata(released("2")), "signature": dg.MetadataValue.json({**ours, "hmac": "\ud800"})}
    report(log, forged, "2", observed=False)
    assert [one.version for one in log.attempts()] == ["1"]


OTHER_VALUES = [
    dg.MetadataValue.asset(dg.AssetKey("leaf")),
    dg.MetadataValue.table([dg.TableRecord({"leaves": 1})]),
    dg.MetadataValue.table_schema(dg.TableSchema(columns=[dg.TableColumn("leaves")])),
    dg.MetadataValue.text("leaves"),
    dg.MetadataValue.null(),
]


@pytest.mark.parametrize("value", OTHER_VALUES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("signed", [True, False])
def test_what_another_code_location_calls_a_record_crashes_nobody(
    log: AuditLog, value: dg.MetadataValue, signed: bool
) -> None:
    """Its assets may have the names of ours, and what it keeps beside them the name of what we keep."""
    log.log(released(), REPORT)
    signature = {"signature": said(log, observed=False)["signature"]} if signed else {}
    report(log, {RECORD_KEY: value, **signature}, "1", observed=False)
    report(log, {RECORD_KEY: value, **signature}, "", observed=True, asset="freezes")
    assert [one.run_id for one in log.attempts()] == ["run"]
    assert (log.freeze(), log.unsigned()) == (None, [])


def test_a_record_is_not_ours_once_it_was_edited(log: AuditLog) -> None:
    log.record_decision(override())
    metadata = said(log, observed=True)
    edited = {**metadata[RECORD_KEY].value, "digest": f"sha256:{'2' * 64}"}
    report(log, {**metadata, RECORD_KEY: dg.MetadataValue.json(edited)}, "1", observed=True)
    assert [one.digest for one in log.decisions("1")] == [DIGEST]


def test_a_record_counts_for_its_own_version_alone(log: AuditLog) -> None:
    log.record_decision(override())
    log.log(released(), REPORT)
    report(log, said(log, observed=True), "2", observed=True)
    report(log, said(log, observed=False), "2", observed=False)
    assert log.decisions("2") == []
    assert log.attempts("2") == []


def test_a_record_counts_on_its_own_asset_and_in_its_own_form_alone(log: AuditLog) -> None:
    log.log(released(), REPORT)
    report(log, said(log, observed=False), "1", observed=True)
    report(log, said(log, observed=False), "1", observed=False, asset="production_release")
    assert log.decisions("1") == []
    assert log.latest(AttemptRecord, "production_release", "1") is None


def test_an_old_override_that_is_repeated_after_the_revocation_it_was_before_stays_before_it(log: AuditLog) -> None:
    log.record_decision(override())
    spent = said(log, observed=True)
    log.log(revoked(), REPORT)
    report(log, spent, "1", observed=True)
    assert len(log.decisions("1")) == 1
    assert standing_override(DIGEST, history=log.attempts("1"), decisions=log.decisions("1")) is None


def test_an_old_release_that_is_repeated_does_not_undo_the_revocation_after_it(log: AuditLog) -> None:
    log.log(released(), REPORT)
    old = said(log, observed=False)
    log.log(revoked(), REPORT)
    for _ in range(3):
        report(log, old, "1", observed=False)
    assert is_revoked(log.attempts("1"))
    assert [one.outcome for one in log.attempts()] == [Outcome.ROLLED_BACK, Outcome.RELEASED]
    assert next(log.each_attempt()).revoked


def test_a_revocation_keeps_its_version_out_whoever_wrote_it_and_says_nothing_else(log: AuditLog) -> None:
    log.log(released(), REPORT)
    report(log, to_metadata(revoked()), "1", observed=False)
    assert is_revoked(log.attempts("1"))
    newest = log.attempts("1")[0]
    assert (newest.digest, newest.run_id) == ("", "")
    assert "it bears no signature" in newest.reason


def test_a_strangers_line_of_the_same_moment_hides_none_of_ours(log: AuditLog) -> None:
    taken_out = revoked().replace(run_id="", revokes="run")
    log.log(taken_out, REPORT)
    report(log, to_metadata(taken_out.replace(revokes="")), "1", observed=False)
    log.log(released(), REPORT)  # The run was asleep since before its release was taken out.
    assert [one.revokes for one in log.attempts("1") if one.revoked] == ["", "run"]
    assert is_revoked(log.attempts("1"))


def test_what_was_taken_out_before_an_upgrade_is_not_let_in_by_a_line_that_came_late(log: AuditLog) -> None:
    report(log, to_metadata(revoked().replace(run_id="", revokes="run")), "1", observed=False)
    log.log(released(), REPORT)
    assert is_revoked(log.attempts("1"))


def test_whoever_looks_for_one_line_finds_ours_past_lines_of_strangers_and_lines_that_nobody_can_read(
    log: AuditLog,
) -> None:
    log.log(released(), REPORT)
    report(log, to_metadata(revoked().replace(run_id="forged")), "1", observed=False)
    report(log, {RECORD_KEY: dg.MetadataValue.json({"version": 7})}, "1", observed=False)
    unreadable = ManualDecision(kind=DecisionKind.OVERRIDE, version="1", by="b", reason="r", at=1.0)
    key = log.location.key("rollout_log").to_user_string()
    signed = signed_metadata(unreadable, Origin("AttemptRecord", key, "1"), log.location.evidence)
    report(log, signed, "1", observed=False)
    assert [one.run_id for one in log.each_readable("1")] == ["run"]
    assert log.knows(released())
    assert [one.run_id for one in log.said_attempts("1", readable=True)] == ["forged", "run"]
    with pytest.raises(ValueError, match="outcome"):
        log.attempts("1")


def test_an_image_that_only_strangers_mention_is_kept_and_not_deployed(log: AuditLog) -> None:
    ref = ImageRef(repository="r", version="1", key="k", digest=DIGEST)
    forged = ImageRecord(
        ref=ref,
        size_bytes=1,
        new_bytes=1,
        layers_new=(),
        layers_reused=(),
        tags=(),
        self_test_passed=True,
        self_test_detail="",
        pickles=(),
        lock_difference="",
        reused=False,
        pruned=(),
        seconds=1.0,
    )
    report(log, to_metadata(forged), "1", observed=False, asset="image")
    assert log.mentions("1", DIGEST)
    assert log.made(ref)
    assert log.image("1", DIGEST) is None


def test_who_has_another_key_or_none_believes_nothing_and_goes_on(log: AuditLog, tmp_path: Path) -> None:
    log.log(released(), REPORT)
    for keys in (EvidenceKeys(tmp_path / "none", named=True), EvidenceKeys()):
        other = AuditLog(log.instance, replace(log.location, evidence=keys))
        assert other.attempts("1") == []
        assert [one.run_id for one in other.said_attempts("1")] == ["run"]
    with pytest.raises(EvidenceError, match="BANANA_EVIDENCE_KEY_FILE"):
        keyless = EvidenceKeys(tmp_path / "none", named=True)
        AuditLog(log.instance, replace(log.location, evidence=keyless)).record_decision(override())


def test_a_new_key_above_the_old_one_signs_and_both_are_believed_until_the_old_one_goes(log: AuditLog) -> None:
    log.log(released(run_id="old"), REPORT)
    file = log.location.evidence.file
    assert file
    old = file.read_text()
    file.write_text(f"# since monday\n{'ab' * 32}\n{old}")
    log.log(released(run_id="new"), REPORT)
    assert [one.run_id for one in log.attempts("1")] == ["new", "old"]
    file.write_text(f"{'ab' * 32}\n")
    assert [one.run_id for one in log.attempts("1")] == ["new"]


def test_what_was_verified_is_not_verified_again_until_the_keys_are_others(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log.log(released(), REPORT)
    verified: list[object] = []

    def counting(record: object, origin: Origin, signature: object, keys: EvidenceKeys) -> str:
        verified.append(origin)
        return doubt_about(record, origin, signature, keys)

    monkeypatch.setattr(reading, "doubt_about", counting)
    for _ in range(3):
        assert [one.run_id for one in AuditLog(log.instance, log.location).attempts("1")] == ["run"]
    assert len(verified) == 1
    stranger = AuditLog(log.instance, CodeLocation(evidence=EvidenceKeys(tmp_path / "other.keys")))
    EvidenceKeys(tmp_path / "other.keys").signing()
    assert stranger.attempts("1") == []


class Forgetful(dict[str, Any]):
    """What was verified, as a thread sees it while others forget: what it holds may be gone a moment later."""

    @typing_.override
    def __contains__(self, _: object) -> bool:
        return True

    @typing_.override
    def __setitem__(self, key: str, line: Any) -> None:
        assert reading._remembering.locked()
        super().__setitem__(key, line)

    @typing_.override
    def __iter__(self) -> Iterator[str]:
        assert reading._remembering.locked()
        return super().__iter__()


def test_what_another_thread_forgets_in_between_is_verified_again(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = Forgetful()
    monkeypatch.setattr(reading, "_verified", verified)
    monkeypatch.setattr(reading, "_MOST_VERIFIED", 1)
    log.log(released("1"), REPORT)
    log.log(released("2"), REPORT)

    for _ in range(2):
        assert [one.version for one in log.attempts()] == ["2", "1"]

    assert len(verified) == 1


def test_what_was_signed_after_the_last_record_of_its_version_still_counts_and_its_repetition_does_not(
    log: AuditLog,
) -> None:
    log.log(released("2"), REPORT)
    origin = Origin("AttemptRecord", log.location.key("rollout_log").to_user_string(), "1", after=0)
    report(log, signed_metadata(released("1"), origin, log.location.evidence), "1", observed=False)
    old = said(log, observed=False)
    log.log(revoked("1"), REPORT)
    report(log, old, "1", observed=False)

    for version in (None, "1"):
        assert [one.outcome for one in log.attempts(version)][:2] == [Outcome.ROLLED_BACK, Outcome.RELEASED]
        assert len(log.attempts(version)) == (2 if version else 3)


def test_two_machines_with_one_key_believe_each_other(log: AuditLog, tmp_path: Path) -> None:
    log.log(released(), REPORT)
    file = log.location.evidence.file
    assert file
    copy = tmp_path / "elsewhere"
    copy.write_text(file.read_text())
    copy.chmod(0o600)
    other = AuditLog(log.instance, replace(log.location, evidence=EvidenceKeys(copy, named=True)))
    other.record_decision(override())
    assert len(other.attempts("1")) == len(log.decisions("1")) == 1


def test_what_an_earlier_version_wrote_counts_once_somebody_adopted_it(log: AuditLog) -> None:
    report(log, to_metadata(released()), "1", observed=False)
    report(log, to_metadata(override()), "1", observed=True)
    found = log.unsigned()
    assert [(one.asset, one.version) for one in found] == [("rollout_log", "1")] * 2
    assert "released" in found[0].says
    log.adopt(found)
    assert (len(log.attempts("1")), len(log.decisions("1"))) == (1, 1)
    assert log.unsigned() == []
    # What comes after that is a stranger's again.
    report(log, to_metadata(override()), "1", observed=True)
    assert len(AuditLog(log.instance, log.location).decisions("1")) == 1
    assert len(log.unsigned()) == 1


def test_adopting_more_keeps_what_was_adopted_before(log: AuditLog) -> None:
    for version in ("1", "2"):
        report(log, to_metadata(released(version)), version, observed=False)
        log.adopt(log.unsigned())
    assert [one.version for one in log.attempts()] == ["2", "1"]


def test_a_list_of_adopted_records_that_was_edited_or_is_another_pipelines_is_none(log: AuditLog) -> None:
    report(log, to_metadata(released()), "1", observed=False)
    log.adopt(log.unsigned())
    storage, key = log.instance.daemon_cursor_storage, "banana-delivery/adopted-records"
    kept = storage.get_cursor_values({key})[key]
    report(log, to_metadata(override()), "1", observed=True)
    storage.set_cursor_values({key: kept.replace('"events": {', '"events": {"2": "ab", ')})
    assert AuditLog(log.instance, log.location).attempts("1") == []
    for spoiled in ("{", "[]", '{"events": 1, "signature": {}}'):
        storage.set_cursor_values({key: spoiled})
        assert AuditLog(log.instance, log.location).attempts("1") == []
        with pytest.raises(EvidenceError, match="key that is not here"):
            log.adopt(log.unsigned())


def without_keys(log: AuditLog, tmp_path: Path) -> AuditLog:
    """As a process sees it that has none: on a cluster the pages."""
    keys = EvidenceKeys(tmp_path / "nowhere" / "keys", named=True)
    return AuditLog(log.instance, replace(log.location, evidence=keys))


def test_who_only_shows_takes_signatures_as_they_stand_where_there_is_no_key(log: AuditLog, tmp_path: Path) -> None:
    log.log(released(), REPORT)
    log.record_freeze(FreezeRecord(frozen=True, by="ada", reason="So.", at=1.0))
    log.record_freeze(FreezeRecord(frozen=False, by="ada", reason="So.", at=2.0))
    blind = without_keys(log, tmp_path)
    shown = AuditLog(log.instance, blind.location.to_show())

    assert [*blind.each_readable()] == []
    assert [one.run_id for one in shown.each_readable()] == ["run"]
    said = shown.freeze()
    assert said is not None and not said.frozen
    # What bears none is told apart without a key.
    log.instance.report_runless_asset_event(
        dg.AssetMaterialization("rollout_log", partition="1", metadata=to_metadata(released(run_id="forged")))
    )
    assert [one.run_id for one in shown.each_readable()] == ["run"]


def test_who_has_the_keys_believes_nothing_more_for_only_showing(log: AuditLog, tmp_path: Path) -> None:
    log.log(released(), REPORT)
    others = EvidenceKeys(tmp_path / "others.keys")
    others.signing()
    foreign = AuditLog(log.instance, replace(log.location, evidence=others).to_show())

    assert [*foreign.each_readable()] == []


def test_what_a_later_version_lets_people_say_keeps_nobody_from_looking_what_is_unsigned(log: AuditLog) -> None:
    """As after this version was put back: of the version that it is about nothing is known, and all else is."""
    log.record_decision(override("2"))
    later = {**override().model_dump(mode="json"), "kind": "of a later version", "schema": SCHEMA + 1}
    key = log.location.key("rollout_log").to_user_string()
    signature = sign(later, Origin("ManualDecision", key, "1", after=1), log.location.evidence)
    metadata = {RECORD_KEY: dg.MetadataValue.json(later), SIGNATURE_KEY: dg.MetadataValue.json(signature)}
    report(log, metadata, "1", observed=True)
    report(log, to_metadata(override("3")), "3", observed=True)
    assert [one.version for one in log.unsigned(20)] == ["3"]
    assert [one.version for one in log.decisions()] == ["2"]
    with pytest.raises(ValueError, match="of a later version"):
        log.decisions("1")
