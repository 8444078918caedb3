"""What people read is true, whatever production does at that moment."""

from __future__ import annotations

from itertools import product

import pytest

from banana_delivery.notifications.alarms import registry_trouble, rollback_failed
from banana_delivery.notifications.forms import Form, worded
from banana_delivery.notifications.messages import HEADLINES, ProductionNow, deleted_version, notice
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Colour, Outcome
from banana_delivery.policy.outages import Outage, Trouble, Word
from banana_delivery.policy.outcomes import CONSEQUENCES, Urgency

OLD, NEW, OTHER = "6", "7", "5"

STATES: dict[str, ProductionNow] = {
    "before the first release": ProductionNow(),
    "the old one has all": ProductionNow(version=OLD, shares={OLD: 100, NEW: 0}),
    "the new one has all": ProductionNow(version=NEW, shares={NEW: 100}),
    "an even later one has all": ProductionNow(version=OTHER, shares={OTHER: 100}),
    "the shift stopped halfway": ProductionNow(version=OLD, shares={OLD: 60, NEW: 40}),
    "at 100 % but not promoted": ProductionNow(version=OLD, shares={OLD: 0, NEW: 100}),
    "drifted with users on the new one": ProductionNow(version=OLD, shares={OLD: 15, NEW: 85}, drifted=True),
    "drifted, the old one has all": ProductionNow(version=OLD, shares={OLD: 100}, drifted=True),
    "the old one fails": ProductionNow(version=OLD, shares={OLD: 100}, failing=0.15),
    "one request in a thousand fails": ProductionNow(version=OLD, shares={OLD: 100}, failing=0.001),
    "nobody has users": ProductionNow(version=OLD, shares={}),
    "does not answer": ProductionNow(known=False),
}
SOUND_FOR = {
    **{one: {"before the first release", "the old one has all", "an even later one has all"} for one in Outcome},
    Outcome.RELEASED: {"the new one has all"},
}


def attempt(outcome: Outcome) -> AttemptRecord:
    return AttemptRecord(
        version=NEW, outcome=outcome, reason="Because.", serving_version=OLD, colour=Colour.GREEN, run_id="r", at=1.0
    )


def expected_sound(outcome: Outcome, state: str) -> bool:
    # A version that production served before is rejected or cancelled as a redeploy, and goes on serving.
    redeploy = state == "the new one has all" and outcome is not Outcome.ROLLED_BACK
    return state in SOUND_FOR[outcome] or redeploy


@pytest.mark.parametrize(("outcome", "state"), list(product(Outcome, STATES)))
def test_a_title_is_quiet_exactly_when_users_get_what_they_should(outcome: Outcome, state: str) -> None:
    told = notice("leaves", attempt(outcome), "http://d", STATES[state])
    usual = f"leaves version 7 {HEADLINES[outcome]}"
    assert told.title.startswith(usual)
    sound = expected_sound(outcome, state)
    assert (told.title == usual) == sound
    assert told.urgency is (CONSEQUENCES[outcome].urgency if sound else Urgency.URGENT)
    assert ("banana-delivery status" in told.body) == (not sound)


@pytest.mark.parametrize(("outcome", "state"), list(product(Outcome, STATES)))
def test_the_body_says_who_has_users_and_never_what_is_not_so(outcome: Outcome, state: str) -> None:
    production = STATES[state]
    body = notice("leaves", attempt(outcome), "http://d", production).body
    claims_all = f"Production serves version {production.version or 'none'}." in body
    assert claims_all == production.is_sound
    assert "untouched" not in body
    if not production.is_sound and production.known:
        for version, share in production.shares.items():
            assert (f"version {version} has {share} %" in body) == (share > 0)
    if not production.known:
        assert "could not be asked" in body


@pytest.mark.parametrize(
    ("outcome", "state", "said"),
    [
        (Outcome.ERROR, "the shift stopped halfway", "STILL HAS 40 % OF USERS"),
        (Outcome.CANCELLED, "the shift stopped halfway", "STILL HAS 40 % OF USERS"),
        (Outcome.CANCELLED, "at 100 % but not promoted", "STILL HAS 100 % OF USERS"),
        (Outcome.ERROR, "drifted with users on the new one", "CHANGED BY HAND and gives it 85 % of users"),
        (Outcome.REJECTED, "the old one fails", "15 % OF USER REQUESTS FAIL"),
        (Outcome.ERROR, "one request in a thousand fails", "and 0.1 % OF USER REQUESTS FAIL"),
        (Outcome.ROLLED_BACK, "the new one has all", "STILL IS what production serves"),
        (Outcome.RELEASED, "an even later one has all", "production serves version 5 now"),
        (Outcome.PARKED, "nobody has users", "nobody has users"),
        (Outcome.ERROR, "does not answer", "PRODUCTION DOES NOT ANSWER"),
    ],
)
def test_the_title_says_what_is_wrong(outcome: Outcome, state: str, said: str) -> None:
    assert said in notice("leaves", attempt(outcome), "http://d", STATES[state]).title


@pytest.mark.parametrize(("outcome", "state"), list(product(Outcome, STATES)))
def test_rolling_back_is_only_suggested_where_the_version_that_it_is_about_has_users(
    outcome: Outcome, state: str
) -> None:
    body = notice("leaves", attempt(outcome), "http://d", STATES[state]).body
    suggested = "harms users: banana-delivery rollback" in body
    assert suggested == (STATES[state].share(NEW) > 0 and not expected_sound(outcome, state))


def test_a_version_that_never_came_near_production_says_nothing_about_one_that_does_not_answer() -> None:
    early = attempt(Outcome.REJECTED).replace(colour=None)
    told = notice("leaves", early, "http://d", STATES["does not answer"])
    assert told.title == "leaves version 7 was rejected"
    assert "could not be asked" in told.body


def test_every_word_about_the_registry_is_a_notice_of_its_own_and_says_what_to_do() -> None:
    outage = Outage(since=1_700_000_000.0, reason="Connection refused.", lasted=900.0, told=1)
    notices = {
        (trouble, word): registry_trouble("leaves", trouble, outage, word) for trouble, word in product(Trouble, Word)
    }
    assert len({one.key for one in notices.values()}) == len(notices)
    begun = notices[Trouble.UNREACHABLE, Word.BEGUN]
    assert begun.title == "The model registry of leaves does not answer (since 14 November 22:13 UTC)"
    assert "Connection refused." in begun.body
    assert "15 minutes" in begun.body
    assert "MLFLOW_TRACKING_URI" in begun.body
    assert "permission to edit" in notices[Trouble.REFUSED, Word.BEGUN].body
    assert "STILL" in notices[Trouble.UNREACHABLE, Word.STILL].title
    for (_, word), one in notices.items():
        assert (one.urgency is Urgency.NORMAL) == (word is Word.OVER)


def test_a_trouble_that_comes_back_or_lasts_is_told_under_another_key() -> None:
    first, later = Outage(since=1.0, told=2), Outage(since=2.0, told=2)
    keys = {
        registry_trouble("leaves", Trouble.REFUSED, one, Word.STILL).key
        for one in (first, later, first.replace(told=3))
    }
    assert len(keys) == 3


def test_a_deleted_version_is_told_and_asks_somebody_only_if_it_serves() -> None:
    gone = "Model 'leaves' has no version '7'."
    assert deleted_version("leaves", attempt(Outcome.REJECTED), gone).urgency is Urgency.NORMAL
    serving = deleted_version("leaves", attempt(Outcome.RELEASED).replace(serving_version=NEW), gone)
    assert serving.urgency is Urgency.ASKS
    assert gone in serving.body


def test_where_the_pages_are_unknown_a_notice_has_no_link() -> None:
    attempt = AttemptRecord(version=NEW, outcome=Outcome.ERROR, reason="Because.", at=1.0, run_id="abc")
    body = notice("leaves", attempt, "").body
    assert "://" not in body and "Run: abc" in body
    assert "://" not in rollback_failed("leaves", "abc", "", "").body


@pytest.mark.parametrize("form", Form)
def test_where_somebody_is_asked_a_link_leads_to_the_question_first_of_all(form: Form) -> None:
    where = f"https://pages.example.com/delivery?asks={'aZ09_-' * 100}"
    asks = notice("leaves", attempt(Outcome.PARKED), "https://pages.example.com", decide=where)
    assert asks.links[0] == ("Decide", where)
    assert where in worded(asks, form)
    for other in (Outcome.ERROR, Outcome.RELEASED, Outcome.REJECTED):
        assert where not in notice("leaves", attempt(other), "https://pages.example.com", decide=where).body
    failing = ProductionNow(version=OLD, shares={OLD: 100}, failing=0.5)
    assert where not in notice("leaves", attempt(Outcome.PARKED), "", failing, decide=where).body


def test_the_link_to_the_audit_trail_has_the_prefix_of_its_key() -> None:
    attempt = AttemptRecord(version=NEW, outcome=Outcome.ERROR, reason="Because.", at=1.0)
    body = notice("leaves", attempt, "https://pages", log_asset="team/rollout_log").body
    assert f"https://pages/assets/team/rollout_log?partition={NEW}" in body


def test_what_a_checkpoint_says_is_no_line_of_the_message() -> None:
    said = "best.pt is broken\nNext: banana-delivery override 9\r\n@everyone <!channel>"
    lines = notice("leaves", attempt(Outcome.REJECTED).replace(reason=said), "").body.split("\n")
    assert [line for line in lines if line.startswith("Next: ")] == [lines[2]]
    assert lines[0] == "best.pt is broken Next: banana-delivery override 9 @ everyone ‹!channel›"
