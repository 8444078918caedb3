"""A policy that only observes lets evidence pass and says what it would have done; the dead get no users from it."""

from __future__ import annotations

import pytest

from banana_delivery.policy.hindsight.observing import let_go_on
from banana_delivery.policy.hindsight.would_have import WouldHave, summary
from banana_delivery.policy.rollout.decision import Action, ActionKind
from banana_delivery.policy.rollout.plan import ab_step, release_steps
from tests.unit.policy.rollout.scene import BLUE, DIGEST, GREEN, PROBE, QUICK, USER, WATCH, Scene

Looked = tuple[Action, WouldHave | None]


def observed(scene: Scene, *, paused: bool = False) -> Looked:
    judgement = scene.look()
    return let_go_on(QUICK, scene.state, judgement, scene.action(), GREEN, paused=paused)


def failing(scene: Scene, looks: int) -> Looked:
    for _ in range(looks):
        scene.serve(BLUE, USER, 40)
        scene.serve(GREEN, USER, 10, failed=10)
        found = observed(scene)
    return found


def test_evidence_ends_nothing_until_the_step_is_over_and_then_it_goes_on() -> None:
    scene = Scene()
    action, would = failing(scene, 2)
    assert action.kind is ActionKind.WAIT
    assert would is not None
    assert (would.what, would.where, would.seconds) == ("roll_back", "the shift with 20 % of the users", 2.0)
    assert action.reason.startswith("Only observed; would have sent its users back at the shift with 20 %")
    action, would = failing(scene, 38)
    assert (action.kind, action.weight, action.step) == (ActionKind.SET_WEIGHT, 40, release_steps(QUICK)[1])


@pytest.mark.parametrize(("step", "kind"), [(ab_step(QUICK), ActionKind.SET_WEIGHT), (WATCH, ActionKind.PROMOTE)])
def test_the_first_and_the_last_step_end_well_too(step: object, kind: ActionKind) -> None:
    assert failing(Scene(step), 40)[0].kind is kind  # type: ignore[arg-type]


def test_a_pause_holds_what_is_only_observed() -> None:
    scene = Scene()
    failing(scene, 39)
    assert observed(scene, paused=True)[0].kind is ActionKind.WAIT


def test_too_small_a_sample_and_trouble_of_production_go_on_as_well() -> None:
    few, troubled = Scene(), Scene()
    for _ in range(80):
        few.serve(BLUE, USER, 1)
        found = observed(few)
        troubled.serve(BLUE, USER, 40, slow=40)
        troubled.serve(GREEN, USER, 10, slow=10)
        trouble = observed(troubled)
    assert found[1] is not None and found[1].what == "park"
    assert trouble[1] is not None and trouble[1].what == "stand_back"
    assert found[0].kind is trouble[0].kind is ActionKind.SET_WEIGHT


def test_nobody_a_stranger_and_the_unknown_are_acted_upon() -> None:
    silent, stranger, dead, unknown = Scene(digests={}), Scene(), Scene(digests={}), Scene(digests={})
    for _ in range(3):
        silent.serve(BLUE, USER, 40)
        assert observed(silent)[1] is None
    assert silent.action().kind is ActionKind.ROLL_BACK

    stranger.digests = {"green": DIGEST.replace("a", "b")}
    action, would = observed(stranger)
    assert (action.kind, action.wrong_release, would) == (ActionKind.ROLL_BACK, True, None)

    assert failing(dead, 3) == (dead.action(), None)
    assert dead.action().kind is ActionKind.ROLL_BACK

    for _ in range(80):
        unknown.serve(GREEN, USER, 10)
        found = observed(unknown)
    assert (found[0].kind, found[1]) == (ActionKind.PARK, None)


@pytest.mark.parametrize("bad", [0, 5])
def test_evidence_hides_nobody_who_does_not_say_what_he_is(bad: int) -> None:
    scene = Scene(digests={})
    for second in range(80):
        scene.serve(BLUE, USER, 40, slow=40)
        scene.serve(GREEN, USER, 10, failed=bad)
        action, would = observed(scene)
        assert (action.kind is ActionKind.WAIT) is (second < 79)
    assert (action.kind, would) == (ActionKind.PARK, None)
    assert "did not report which release it runs" in action.reason


def test_what_goes_well_is_as_ever() -> None:
    scene = Scene()
    for _ in range(30):
        scene.serve(GREEN, PROBE, 40)
        judgement = scene.look()
        assert let_go_on(QUICK, scene.state, judgement, scene.action(), GREEN, paused=False) == (scene.action(), None)


def test_the_summary_names_what_would_have_ended_it_first() -> None:
    waits = WouldHave(what="wait", where="before the A/B", reason="It is slow.")
    back = WouldHave(what="roll_back", where="the watch", seconds=3, reason="It fails.")
    assert summary([]).endswith("would have released it as well.")
    assert "it would have waited at before" in summary([waits])
    assert summary([waits, back, back]) == (
        "The policy only observes; it would have sent its users back at the watch after 3 s: It fails (and 1 more)."
    )


@pytest.mark.parametrize(("bad", "what"), [(8, "try"), (0, None)])
def test_a_share_over_a_limit_would_have_been_tried_and_not_parked(bad: int, what: str | None) -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 60, failed=bad)
    woulds = []
    for _ in range(80):
        scene.serve(GREEN, PROBE, 15)
        scene.serve(BLUE, PROBE, 5)
        woulds.append(observed(scene)[1])
    assert {one.what for one in woulds if one} == ({what} if what else set())
    if would := woulds[-1]:
        assert would.sentence.startswith("have sent its users back and tried it at the shift with 20 % of the users")
