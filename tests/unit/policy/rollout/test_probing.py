from banana_delivery.policies.reading import PLANS
from banana_delivery.policy.rollout.plan import ab_step
from tests.unit.policy.rollout.scene import GREEN, PROBE, QUICK, USER, Scene

TRICKLE = QUICK.probe_trickle
FULL = QUICK.minimum_sample / 10


def test_without_users_the_probe_fills_the_sample_in_the_first_quarter_of_the_step() -> None:
    scene = Scene()
    assert scene.probe_rate() == FULL
    for _ in range(10):
        scene.serve(GREEN, PROBE, round(FULL))
        scene.look()
    assert scene.judgements[-1].verdict == "PASS"


def test_the_probe_throttles_once_it_has_shown_health() -> None:
    scene = Scene()
    scene.serve(GREEN, PROBE, 130)
    assert scene.probe_rate() == TRICKLE


def test_the_probe_throttles_when_users_will_suffice() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 60)
    scene.look(seconds=4)
    assert scene.probe_rate() == TRICKLE


def test_a_few_quick_users_are_not_believed_at_once() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 60)
    scene.look()
    assert scene.probe_rate() == FULL


def test_the_probe_helps_out_when_users_did_not_suffice_after_all() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 80)
    scene.look(seconds=12)
    assert scene.probe_rate() == FULL


def test_the_probe_goes_on_while_its_sample_is_not_yet_proof_of_health() -> None:
    scene = Scene()
    scene.serve(GREEN, PROBE, 140, failed=2)
    scene.look()
    assert scene.probe_rate() == FULL


def test_the_probe_never_exceeds_its_limit() -> None:
    demo = PLANS["demo"].replace(probe_limit=4)
    assert Scene(plan=demo, step=ab_step(demo)).probe_rate() == 4
