"""A policy file is read, or refused in one sentence that says where the mistake is and what is allowed."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from banana_delivery.errors import BadSettingsError
from banana_delivery.policies.document import LATENCY_BUDGETS, schema
from banana_delivery.policies.reading import HERE, NAMED, PLANS, PolicyFile, load_policy, read_policy
from banana_delivery.policies.source import parse
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.rollout.plan import Plan
from serving.metrics import DURATION_BUCKETS
from tools.policy_schema import FILE, PAGE, policy_page, schema_text

TODAY = {
    "standard": Plan(
        name="standard",
        ab_seconds=240,
        step_seconds=45,
        watch_seconds=240,
        ab_minimum_seconds=30,
        step_minimum_seconds=5,
        watch_minimum_seconds=60,
    ),
    "seed": Plan(
        name="seed",
        ab_seconds=300,
        step_seconds=60,
        watch_seconds=300,
        ab_minimum_seconds=30,
        step_minimum_seconds=5,
        watch_minimum_seconds=60,
    ),
    "demo": Plan(
        name="demo",
        ab_seconds=15,
        step_seconds=10,
        watch_seconds=15,
        ab_minimum_seconds=5,
        step_minimum_seconds=2,
        watch_minimum_seconds=8,
        probe_limit=70,
    ),
}


METRICS = """
metrics:
  - name: empty
    provider: prometheus
    address: http://prometheus:9090
    kind: share
    query: sum(x{colour="$colour"})
    total: sum(y{colour="$colour"})
    failure_condition: "> 0.2"
"""


def written(folder: Path, text: str, name: str = "bananas.yaml") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


LONG = "x" * 1200
WEEKEND = "freeze: [{from: Fri 16:00, until: Mon 07:00, zone: UTC, reason: ''}]"


def refusal(folder: Path, text: str) -> str:
    """The sentence by which a file is refused, without its folder."""
    with pytest.raises(BadSettingsError) as caught:
        load_policy(written(folder, text))
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize("name", TODAY)
def test_the_files_in_the_package_are_the_plans_that_records_of_earlier_versions_name(name: str) -> None:
    assert NAMED[name].name == name
    assert PLANS[name] == load_policy(name).plan == TODAY[name]


@pytest.mark.parametrize("name", TODAY)
def test_the_files_in_the_package_fit_the_published_schema(name: str) -> None:
    text = NAMED[name].text
    assert jsonschema_rs.validator_for(json.loads(FILE.read_text())).is_valid(yaml.safe_load(text))
    assert not jsonschema_rs.validator_for(schema()).is_valid(yaml.safe_load(text.replace("alpha", "alfa")))


def test_the_published_schema_and_its_page_are_current() -> None:
    assert jsonschema_rs.meta.is_valid(schema())
    assert FILE.read_text() == schema_text(), "write it again: .venv/bin/python -m tools.policy_schema"
    assert PAGE.read_text() == policy_page(), "write it again: .venv/bin/python -m tools.policy_schema"


def test_every_key_of_the_schema_stands_in_standard_so_that_it_can_be_copied() -> None:
    said = parse((HERE / "standard.yaml").read_text(), "standard.yaml").said
    assert said.keys() == schema()["properties"].keys()
    assert said["plan"].keys() == schema()["$defs"]["Plan"]["properties"].keys()
    assert said["quality"].keys() == schema()["$defs"]["QualityMargins"]["properties"].keys()


def test_every_key_of_the_schema_says_what_it_is_for() -> None:
    whole = schema()
    parts = [whole, *(part for part in whole["$defs"].values() if "properties" in part)]
    silent = [name for part in parts for name, one in part["properties"].items() if not one.get("description")]
    assert silent == []


def test_what_a_file_leaves_out_is_as_in_standard(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, "plan:\n  error_threshold: 0.02\n  steps: [50, 100]\n"))

    assert policy.name == policy.plan.name == "bananas"
    assert policy.plan == TODAY["standard"].replace(name="bananas", error_threshold=0.02, steps=(50, 100))


def test_what_standard_says_of_quality_is_what_records_without_it_were_judged_by(tmp_path: Path) -> None:
    assert NAMED["standard"].quality == NAMED["demo"].quality == QualityMargins()
    assert load_policy(written(tmp_path, "quality: {recall: 0.01}")).quality == QualityMargins(recall=0.01)


@pytest.mark.parametrize("text", ["", "# nothing\n", "plan:\n", "plan: {}\n", "{}"])
def test_a_file_that_says_nothing_is_standard_under_its_own_name(tmp_path: Path, text: str) -> None:
    assert load_policy(written(tmp_path, text)).plan == TODAY["standard"].replace(name="bananas")


def test_the_text_of_a_policy_is_a_file_that_says_the_same() -> None:
    odd = read_policy(f"name: odd\nplan: {{alpha: 0.001, steps: [3, 100]}}\n{METRICS}", "odd.yaml", "x")

    again = read_policy(odd.text, "record", "y")

    assert again == odd
    assert (again.text, again.digest) == (odd.text, odd.digest)


def test_the_digest_is_of_what_is_said_and_not_of_how() -> None:
    long = read_policy("# why\nname: a\nplan:\n  alpha: 0.0100\n", "a.yaml", "a")
    short = read_policy('{"name": "a"}', "a.yaml", "b")
    other = read_policy("name: a\nplan: {alpha: 0.02}", "a.yaml", "a")

    assert long.digest == short.digest != other.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plan:\n  alfa: 0.02\n", "bananas.yaml, line 2: plan.alfa is no key of a policy; did you mean alpha?"),
        ("\n\nplann: {}", "bananas.yaml, line 3: plann is no key of a policy; did you mean plan?"),
        ("limits: 3", "bananas.yaml, line 1: limits is no key of a policy; allowed here are name, "),
        ("plan: {name: x}", "bananas.yaml, line 1: plan.name is no key of a policy"),
        ("plan:\n  alpha: 1.5", "bananas.yaml, line 2: plan.alpha is '1.5'; allowed is a number above 0 and below 1."),
        ("plan:\n  alpha: few", "line 2: plan.alpha is 'few'; allowed is a number above 0 and below 1."),
        ("plan:\n  alpha: .nan", "line 2: plan.alpha is '.nan'; allowed is a number"),
        (
            "plan:\n  ab_seconds: inf",
            "plan.ab_seconds is 'inf'; allowed is a number above 0 and at most 86,400.",
        ),
        ("plan:\n  ab_seconds: {}", "line 2: plan.ab_seconds is a section of its own; allowed is a number"),
        (
            "plan:\n  minimum_sample: 1.5",
            "is '1.5'; allowed is a whole number above 0 and at most 1,000,000.",
        ),
        (
            "plan:\n  steps:\n    - 20\n    - 200",
            "line 4: plan.steps[1] is '200'; allowed is a whole number above 0 and at most 100.",
        ),
        ("plan:\n  steps: 100", "line 2: plan.steps is no list; allowed is a list of which each is a whole number"),
        ("plan:\n  steps: [20, 80]", "bananas.yaml, line 1: Plan 'bananas' has the steps (20, 80); they must rise"),
        ("plan: {ab_seconds: 20}", "the ab step lasts at least 30 s but at most 20 s; lower its minimum or raise"),
        ("plan:\n  latency_budget_seconds: 2", "line 2: plan.latency_budget_seconds is 2; allowed is 0.005 or 0.01 or"),
        ("quality: {map5: 0.1}", "line 1: quality.map5 is no key of a policy; did you mean map50?"),
        ("quality:\n  map50: 2", "line 2: quality.map50 is '2'; allowed is a number above 0 and at most 1."),
        ("quality:\n  recall: 0", "line 2: quality.recall is '0'; allowed is a number above 0 and at most 1."),
        (
            "quality:\n  missable: .5",
            "line 2: quality.missable is '.5'; allowed is a number at least 1 and at most 100.",
        ),
        ("quality:\n  false_boxes: inf", "quality.false_boxes is 'inf'; allowed is a number above 0 and at most 100."),
        ("quality:\n  small_side: .nan", "line 2: quality.small_side is '.nan'; allowed is a number"),
        ("quality:\n  least_images: 1.5", "line 2: quality.least_images is '1.5'; allowed is a whole number"),
        ("quality: strict", "line 1: quality is no section; allowed in it are map50"),
        ("name: demo", "line 1: name is demo, a policy of the product; give yours a name of its own"),
        ("name: ../up", "line 1: name is '../up'; allowed is text that matches"),
        ("approvers:\n  who: ['']", "line 2: approvers.who[0] is ''; allowed is text that matches"),
        ("approvers: {needed: 2, who: [ada, ' ']}", "approvers.who[1] is ''; allowed is text that matches"),
        ("approvers: {who: ['ada ']}", "approvers.who[0] is 'ada'; allowed is text that matches"),
        ("metrics: {}", "line 1: metrics is no list; allowed is a list of which each is a section."),
        ("metrics:\n  - nam: x", "line 2: metrics[0].nam is no key of a policy; did you mean name?"),
        (f"{METRICS}    total: ''", "metrics[0].total is said twice"),
        (METRICS.replace("kind: share", "kind: sum"), "line 6: metrics[0].kind is 'sum'; allowed is share or mean or"),
        (
            METRICS.replace("> 0.2", "0.2"),
            "line 9: metrics[0].failure_condition is '0.2'; allowed is text",
        ),
        (
            METRICS.replace("sum(y", "$all(y"),
            "line 3: Metric empty: $all stands for nothing; there are $colour",
        ),
        (METRICS + METRICS.replace("\nmetrics:", ""), "bananas.yaml: Two metrics are called empty; give each a name"),
        (METRICS.replace("    total", "    # total"), "line 3: Metric empty: a share needs total, the counter of"),
        ("plan: 7", "line 1: plan is no section; allowed in it are ab_percent"),
        ("- plan", "bananas.yaml: a policy file has keys at its top, such as plan:."),
        ("plan:\n  alpha: 0.1\n  alpha: 0.2", "line 3: plan.alpha is said twice, first on line 2."),
        (
            "plan:\n alpha: 0.1\n   beta: 1",
            "line 3: this is no YAML, mapping values are not allowed here.",
        ),
        ("plan: [", "this is no YAML"),
        ("plan: &a\n  steps: *a", "line 2: an alias has no place in a policy; write it out."),
        ("[" * 5000, "line 1: more than 8 levels has no place in a policy; write it out."),
        ("? [a]\n: b", "line 1: a key is one word."),
        ("plan: !!python/object:os.system {}", "plan: {}"),
        ("a: 1\n---\nb: 2", "this is no YAML"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line_its_key_and_what_is_allowed(
    tmp_path: Path, text: str, said: str
) -> None:
    if said == "plan: {}":  # A tag is no more than a word: nothing is made of it.
        assert load_policy(written(tmp_path, text)).plan == TODAY["standard"].replace(name="bananas")
        return
    sentence = refusal(tmp_path, text)
    assert said in sentence
    assert "\n" not in sentence


def test_a_file_that_cannot_be_read_is_said_with_what_was_perhaps_meant(tmp_path: Path) -> None:
    for source, said in [
        (str(tmp_path / "standart"), "did you mean standard?"),
        (str(tmp_path / "mine.yaml"), "nor is it one of standard, seed, demo"),
        (str(tmp_path), "Is a directory"),
    ]:
        with pytest.raises(BadSettingsError, match=r"cannot be read") as caught:
            load_policy(source)
        assert said in str(caught.value)


def test_a_file_that_is_no_text_or_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"plan: \xff")
    (tmp_path / "b").write_bytes(b"#" * 100_000)

    with pytest.raises(BadSettingsError, match="no UTF-8 at byte 6"):
        load_policy(str(tmp_path / "a"))
    with pytest.raises(BadSettingsError, match="larger than 64 KiB"):
        load_policy(str(tmp_path / "b"))


def test_a_policy_is_read_once_so_that_a_delivery_goes_by_the_same_rules_to_its_end(tmp_path: Path) -> None:
    file = PolicyFile(written(tmp_path, "plan: {alpha: 0.02}"))
    before = file.policy
    written(tmp_path, "plan: {alpha: 0.5}")

    assert file.policy is before
    assert before.plan.alpha == 0.02


def test_the_latency_budgets_are_the_edges_by_which_replicas_count() -> None:
    assert LATENCY_BUDGETS == DURATION_BUCKETS


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        (METRICS.replace("sum(x{", f"sum({LONG}{{"), "text of at most 1,000 characters."),
        (METRICS.replace("prometheus:9090", LONG), "text of at most 200 characters that matches ^https?://"),
        (WEEKEND.replace("''", LONG), "text of at most 200 characters."),
        (WEEKEND.replace("UTC", LONG), "text of at most 64 characters, such as Europe/Berlin."),
    ],
    ids=["query", "address", "reason", "zone"],
)
def test_of_what_is_too_long_it_is_said_how_long_it_may_be(tmp_path: Path, text: str, allowed: str) -> None:
    assert f"; allowed is {allowed}" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "example"),
    [
        (WEEKEND.replace("Fri 16:00", "Fri 4pm"), "such as Fri 16:00 or 2026-12-23 12:00."),
        (WEEKEND.replace("Mon 07:00", "monday"), "such as Mon 07:00 or 2027-01-04 07:00."),
        (WEEKEND.replace("zone: UTC, ", ""), "such as Europe/Berlin."),
        (METRICS.replace("> 0.2", "result > 0.2"), "such as > 0.02."),
        (METRICS.replace("http://", ""), "such as http://prometheus.monitoring:9090."),
    ],
)
def test_a_pattern_is_told_with_an_example(tmp_path: Path, text: str, example: str) -> None:
    assert refusal(tmp_path, text).endswith(example)
