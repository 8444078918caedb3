"""What a release under way goes by, as this and as earlier versions read it."""

import json

import pytest

from banana_delivery.policies.document import Rules
from banana_delivery.policies.reading import PLANS
from banana_delivery.policy.hindsight.would_have import Mode
from banana_delivery.policy.own_metrics.metric import OwnMetric, Usual
from banana_delivery.policy.rollout.decision import StepVerdict
from banana_delivery.policy.rollout.plan import Plan
from tests.unit.policy.own_metrics.metrics import SHARE
from tests.unit.policy.rollout.scene import GREEN, PROBE, USER, WATCH, Scene

METRICS = (OwnMetric.model_validate(SHARE),)


@pytest.mark.parametrize("mode", list(Mode))
def test_they_are_read_as_they_were_written(mode: Mode) -> None:
    rules = Rules(run_id="r", digest="sha256:1", plan=PLANS["standard"], metrics=METRICS, mode=mode)
    assert Rules.kept(rules.model_dump_json()) == rules


def test_a_version_that_knows_no_observing_turns_nobody_back_by_those_that_only_observe() -> None:
    rules = Rules(run_id="r", digest="sha256:1", plan=PLANS["standard"], metrics=METRICS, mode=Mode.OBSERVE)
    seen = json.loads(rules.model_dump_json())
    plan = Plan.model_validate(seen["plan"])
    assert (plan.watch_seconds, seen["metrics"]) == (rules.plan.watch_seconds, [])
    scene = Scene(step=WATCH, plan=plan)
    for _ in range(200):
        scene.serve(GREEN, USER, 500, failed=500, slow=500)
        scene.serve(GREEN, PROBE, 30, failed=30)
        assert scene.look().verdict is not StepVerdict.FAIL


def test_those_that_act_are_written_as_they_are() -> None:
    rules = Rules(run_id="r", digest="sha256:1", plan=PLANS["standard"])
    assert json.loads(rules.model_dump_json())["plan"] == PLANS["standard"].model_dump(mode="json")


@pytest.mark.parametrize("odd", [None, 5, 1e308, "x", [], [[1]], True, {"plan": 5}, {"mood": "good"}])
@pytest.mark.parametrize("key", ["observed", "plan", "metrics", "mode", "usual", "run_id", "schema"])
def test_those_that_a_hand_or_another_version_wrote_are_read_or_are_none(key: str, odd: object) -> None:
    """They stand in an annotation, and the watch of production asks for them at every tick."""
    rules = Rules(run_id="r", digest="sha256:1", plan=PLANS["standard"], metrics=METRICS, mode=Mode.OBSERVE)
    kept = Rules.kept(json.dumps({**json.loads(rules.model_dump_json()), key: odd}))
    assert kept is None or Rules.kept(kept.model_dump_json()) == kept


@pytest.mark.parametrize(
    "usual", ['{"bad": NaN}', '{"bad": -1}', '{"bad": 9, "judged": 5}', '{"judged": 1e999}', '{"value": -Infinity}']
)
def test_how_a_release_usually_stood_is_a_figure(usual: str) -> None:
    """Another one would be written into the watch's cursor as none, and no look would know of the one before it."""
    rules = Rules(run_id="r", digest="sha256:1", plan=PLANS["standard"], metrics=METRICS, usual={"empty": Usual()})
    text = rules.model_dump_json()
    assert Rules.kept(text) == rules
    assert Rules.kept(text.replace(Usual().model_dump_json(), usual)) is None
