"""Alert rules and the dashboard of deliveries: they speak of what is measured, and promtool has tried the rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from banana_delivery.delivery.observing.exposition import PipelineMetrics
from banana_delivery.delivery.observing.snapshot import Snapshot, SnapshotFile
from banana_delivery.delivery.rescue.ticks import WATCHED, Ticks
from banana_delivery.policy.model import Environment, Outcome
from banana_delivery.policy.scorecard.totals import Totals, count
from tests import ROOT
from tests.unit.delivery.observing.test_exposition import SHIFTING, TRAIL
from tests.unit.serving.test_dashboard import exposed_names

FOLDER = ROOT / "k8s" / "monitoring"
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
TESTS = yaml.safe_load((FOLDER / "alerts.test.yaml").read_text())["tests"]
PANELS = json.loads((FOLDER / "grafana-deliveries.json").read_text())["panels"]
NAME = re.compile(r"\bbanana_[a-z_]+")
PROMTOOL = shutil.which("promtool")


@pytest.fixture
def measured(tmp_path: Path) -> set[str]:
    """Every series that the pipeline or a replica exposes."""
    for sensor in WATCHED:
        Ticks(tmp_path).note(sensor)
    SnapshotFile(tmp_path).write(
        Snapshot(environments={Environment.PRODUCTION: SHIFTING}, totals=count(Totals(), TRAIL))
    )
    lines = PipelineMetrics(tmp_path).text().splitlines()
    return exposed_names() | {re.split(r"[ {]", line)[0] for line in lines if not line.startswith("#")}


def test_rules_and_panels_speak_only_of_what_is_measured(measured: set[str]) -> None:
    asked = [rule["expr"] for rule in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]]
    used = {name for query in asked for name in NAME.findall(query)}
    assert len(used) > 12
    assert used - measured == set()


def test_outcomes_that_rules_name_are_outcomes() -> None:
    named = {name for rule in RULES for name in re.findall(r'outcome="(\w+)"', rule["expr"])}
    assert named
    assert named <= set(Outcome)


def test_panels_stand_beside_each_other() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in PANELS]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)


def test_each_alert_is_tried_for_what_fires_it_and_for_what_does_not() -> None:
    tried = [case for test in TESTS for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in tried if case.get("exp_alerts")}
    quiet = {case["alertname"] for case in tried if not case.get("exp_alerts")}
    assert fired == quiet == {rule["alert"] for rule in RULES}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not there; Debian has it in the package prometheus")
def test_promtool_finds_the_alerts_as_they_were_written(tmp_path: Path) -> None:
    def tried(rules: str) -> int:
        (tmp_path / "alerts.yaml").write_text(rules)
        shutil.copy(FOLDER / "alerts.test.yaml", tmp_path)
        return subprocess.run(
            [str(PROMTOOL), "test", "rules", "alerts.test.yaml"], cwd=tmp_path, capture_output=True, check=False
        ).returncode

    written = (FOLDER / "alerts.yaml").read_text()
    assert tried(written) == 0
    assert tried(written.replace("> 0.01", "> 0.1")) != 0
