from __future__ import annotations

import pytest

from banana_delivery.policy.asset_records import AbVerdict, Attempt, Verdict, Word, WordKind
from banana_delivery.policy.gate import Passage, gate
from banana_delivery.policy.model import Outcome

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def verdict(kind: Verdict, digest: str = DIGEST, at: float = 10.0) -> AbVerdict:
    return AbVerdict(verdict=kind, digest=digest, reason=f"It was a {kind}.", at=at)


def attempt(outcome: Outcome, at: float, *, revoked: bool = False) -> Attempt:
    return Attempt(outcome=outcome, version="7", digest=DIGEST, at=at, revoked=revoked)


def word(kind: WordKind, at: float, digest: str = "") -> Word:
    return Word(kind=kind, version="7", digest=digest, by="Ada", reason="I looked.", at=at)


RELEASED = attempt(Outcome.RELEASED, 1.0)
REVOKED = attempt(Outcome.ROLLED_BACK, 5.0, revoked=True)


@pytest.mark.parametrize(
    ("verdicts", "history", "words", "frozen", "passage", "basis"),
    [
        ([], [], [], False, Passage.REFUSED, ""),
        ([verdict(Verdict.PASS)], [], [], False, Passage.OPEN, "verdict"),
        ([verdict(Verdict.PASS, OTHER)], [], [], False, Passage.REFUSED, ""),
        ([verdict(Verdict.PASS, at=1.0), verdict(Verdict.FAIL, at=2.0)], [], [], False, Passage.REFUSED, ""),
        ([verdict(Verdict.FAIL)], [], [word(WordKind.APPROVAL, 11.0)], False, Passage.REFUSED, ""),
        ([verdict(Verdict.INCONCLUSIVE)], [], [], False, Passage.PARKED, ""),
        ([verdict(Verdict.INCONCLUSIVE)], [], [word(WordKind.APPROVAL, 11.0)], False, Passage.OPEN, "approval"),
        ([verdict(Verdict.INCONCLUSIVE)], [], [word(WordKind.APPROVAL, 9.0)], False, Passage.PARKED, ""),
        ([verdict(Verdict.INCONCLUSIVE)], [], [word(WordKind.APPROVAL, 11.0, OTHER)], False, Passage.PARKED, ""),
        ([], [RELEASED], [], False, Passage.OPEN, "redeploy"),
        ([], [RELEASED.but(digest=OTHER)], [], False, Passage.REFUSED, ""),
        ([verdict(Verdict.PASS)], [RELEASED, REVOKED], [], False, Passage.REFUSED, ""),
        ([], [RELEASED, REVOKED], [word(WordKind.OVERRIDE, 6.0)], False, Passage.OPEN, "override"),
        ([], [RELEASED, REVOKED], [word(WordKind.OVERRIDE, 4.0)], False, Passage.REFUSED, ""),
        ([verdict(Verdict.PASS)], [], [], True, Passage.PARKED, ""),
        ([verdict(Verdict.PASS)], [], [word(WordKind.OVERRIDE, 11.0)], True, Passage.OPEN, "override"),
    ],
)
def test_the_gate_opens_only_for_a_reason(
    verdicts: list[AbVerdict],
    history: list[Attempt],
    words: list[Word],
    frozen: bool,
    passage: Passage,
    basis: str,
) -> None:
    decision = gate("7", DIGEST, verdicts=verdicts, history=history, words=words, frozen=frozen)
    assert (decision.passage, decision.basis) == (passage, basis)


def test_whoever_is_kept_out_is_told_what_to_type() -> None:
    refused = gate("7", DIGEST, verdicts=[], history=[], words=[], frozen=False)
    revoked = gate("7", DIGEST, verdicts=[], history=[RELEASED, REVOKED], words=[], frozen=False)
    parked = gate("7", DIGEST, verdicts=[verdict(Verdict.INCONCLUSIVE)], history=[], words=[], frozen=False)
    assert "banana-delivery deliver 7" in refused.reason
    assert "banana-delivery override 7" in revoked.reason
    assert "banana-delivery approve 7" in parked.reason
