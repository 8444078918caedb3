"""A metric of a policy file hangs together, or is refused in a sentence; its queries name one release."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from banana_delivery.policy.own_metrics.metric import named
from tests.unit.policy.own_metrics.metrics import MEAN, PAGE, RATIO, SHARE, VALUE, metric


@pytest.mark.parametrize("said", [SHARE, MEAN, VALUE, RATIO, PAGE])
def test_every_kind_can_be_said(said: dict[str, object]) -> None:
    assert metric(said).tells_colours


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({**SHARE, "total": ""}, "Metric empty: a share needs total"),
        ({**SHARE, "failure_condition": "> 1"}, "lies between 0 and 1"),
        ({**MEAN, "failure_condition": "> 100"}, r"lies between 0 and 100 \(largest\)"),
        ({**SHARE, "success_condition": "< 0.1"}, "a share is tested"),
        ({**VALUE, "total": "x"}, "total is for a share or a mean"),
        ({**VALUE, "query": 'up{colour="$color"}'}, r"\$color stands for nothing; there are \$colour"),
        ({**VALUE, "query": " "}, "its query is empty"),
        ({**RATIO, "query": "rate(x[1m])"}, "a ratio compares two releases"),
        ({**VALUE, "value": "data.rate"}, "for pages of JSON"),
        ({**VALUE, "query": "x"}, r"give time, such as max\(timestamp\(x\)\)"),
        ({**VALUE, "query": "rate(x[1m]) + rate(x[5m])"}, "older than 90 s would not be noticed"),
        ({**VALUE, "time": "timestamp($what)"}, r"\$what stands for nothing"),
        ({**PAGE, "time": ""}, "what has no time may be old"),
        ({**PAGE, "query": "figures"}, "begins with a slash"),
        ({**PAGE, "query": "/a b"}, "has no spaces"),
        ({**VALUE, "address": "http://ada:secret@prometheus"}, "address"),
        ({**VALUE, "address": "http://prometheus?x=1"}, "address"),
        ({**VALUE, "address": "file:///etc/passwd"}, "address"),
        ({**VALUE, "failure_condition": "about 3"}, "failure_condition"),
        ({**VALUE, "failure_condition": "> nan"}, "failure_condition"),
        ({**VALUE, "interval_seconds": "nan"}, "interval_seconds"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(said: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        metric(said)


def test_a_query_names_a_release_and_leaves_patterns_alone() -> None:
    names = {"colour": "green", "digest": "sha256:ab", "version": "7"}
    assert named('x{colour="$colour",v="$version",path=~"^/a$"}', names) == 'x{colour="green",v="7",path=~"^/a$"}'


def test_a_condition_counts_what_is_on_its_wrong_side() -> None:
    few, many = metric(SHARE, failure_condition="< 0.9"), metric(MEAN)
    assert (round(few.limit, 9), few.broken(70, 100)) == (0.1, 30)
    assert (many.limit, many.broken(300, 10)) == (0.2, 3)
    value = metric(VALUE, failure_condition=">= 2", success_condition="<= 1")
    assert [(value.fails(one), value.succeeds(one)) for one in (1, 1.5, 2)] == [
        (False, True),
        (False, False),
        (True, False),
    ]
