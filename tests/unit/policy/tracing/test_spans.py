from collections.abc import Iterator
from itertools import pairwise

from banana_delivery.policy.model import Outcome
from banana_delivery.policy.tracing.spans import FAILED, Interval, Known, Span, trace_id, trace_of
from tests.unit.reports import scenes

AT = 1_790_000_000.0
RUN = Interval(AT - 100)
ASSETS = {
    "staging_release": Interval(AT - 95, AT - 70),
    "ab_report": Interval(AT - 70, AT - 45),
    "production_release": Interval(AT - 45),
}


def every(span: Span) -> Iterator[Span]:
    yield span
    for child in span.children:
        yield from every(child)


def known(**times: Interval) -> Known:
    quality = scenes.quality(3.0)
    return Known(run=RUN, assets={**ASSETS, **times}, staging=scenes.staging(quality), ab=scenes.ab(quality))


def attempt(outcome: Outcome, **changes: object) -> Span:
    steps = scenes.rolled_back_steps() if outcome is Outcome.ROLLED_BACK else scenes.promoted_steps()
    told = scenes.attempt(steps, outcome, "11 of 72 failed.").replace(at=AT, run_id="run", **changes)
    return trace_of(told, known()).root


def test_a_release_has_its_assets_and_in_them_their_phases() -> None:
    root = attempt(Outcome.RELEASED)
    assert (root.name, root.start, root.end, root.failed) == ("delivery", AT - 100, AT, "")
    assert {asset.name: [phase.name for phase in asset.children] for asset in root.children} == {
        "staging_release": ["deploy", "tests and quality"],
        "ab_report": ["ab 10 %"],
        "production_release": [
            "deploy", "shift 20 %", "shift 40 %", "shift 60 %", "shift 80 %", "shift 100 %", "watch 100 %"
        ],
    }  # fmt: skip
    assert root.attributes["version"] == "7"
    assert root.attributes["outcome"] == "released"
    assert root.attributes["digest"] == scenes.image().digest
    step = root.children[2].children[1]
    assert (step.attributes["weight"], step.attributes["verdict"]) == (20, "set_weight")


def test_a_way_back_is_the_last_phase_and_makes_the_trace_red() -> None:
    root = attempt(Outcome.ROLLED_BACK, rollback_seconds=0.4)
    back = root.children[-1].children[-1]
    assert (back.name, round(back.end - back.start, 3)) == ("rollback", 0.4)
    assert root.failed == "11 of 72 failed."
    assert not any(attempt(outcome).failed for outcome in Outcome if outcome not in FAILED)


def test_a_clock_that_was_set_gives_no_span_that_ends_before_it_begins_or_leaves_its_parent() -> None:
    set_back = Interval(AT - 4000, AT - 5000)
    for changed in ({"staging_release": set_back}, {"production_release": Interval(AT + 3600, AT)}):
        for run in (RUN, Interval(AT + 9000), Interval(AT - 9000)):
            told = scenes.attempt(scenes.promoted_steps(), Outcome.RELEASED, "").replace(at=AT, run_id="run")
            facts = known(**changed)
            root = trace_of(told, Known(run=run, assets=facts.assets, staging=facts.staging, ab=facts.ab)).root
            for span in every(root):
                assert span.start <= span.end
                for child in span.children:
                    assert span.start <= child.start <= child.end <= span.end


def test_a_step_whose_begin_nobody_noted_begins_where_the_one_before_ended() -> None:
    steps = attempt(Outcome.RELEASED).children[-1].children[1:]
    assert [round(after.start - before.end, 6) for before, after in pairwise(steps)] == [0.0] * 5


def test_a_noted_begin_says_how_long_the_deployment_took() -> None:
    first, *others = scenes.promoted_steps()
    noted = first.replace(metrics=first.metrics.replace(began_at=AT - 40))
    told = scenes.attempt((noted, *others), Outcome.RELEASED, "").replace(at=AT, run_id="run")
    deploy = trace_of(told, known()).root.children[-1].children[0]
    assert (deploy.name, deploy.start, deploy.end) == ("deploy", AT - 45, AT - 40)


def test_what_a_person_took_out_without_a_run_points_at_its_release() -> None:
    told = scenes.attempt((), Outcome.ROLLED_BACK, "Shadows.").replace(
        at=AT, seconds=2.0, rollback_seconds=0.5, revokes="run", revoked=True
    )
    trace = trace_of(told, Known())
    assert [span.name for span in every(trace.root)] == ["rollback", "rollback"]
    assert (trace.root.start, trace.root.end) == (AT - 2, AT)
    assert trace.about == trace_id("run", "7") != trace.trace_id


def test_the_same_attempt_is_the_same_trace_and_another_run_is_another() -> None:
    told = scenes.attempt((), Outcome.ERROR, "Away.").replace(at=AT, run_id="run")
    assert trace_of(told, Known()).trace_id == trace_of(told.replace(at=AT + 9), Known()).trace_id
    assert trace_of(told, Known()).trace_id != trace_of(told.replace(run_id="other"), Known()).trace_id
    assert len(trace_id("run", "7")) == 16
