from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.reports import tables
from banana_delivery.reports.tables import Grid
from tests.unit.reports import scenes


def columns(markdown: str) -> set[int]:
    """How many cells the lines of a markdown table have, escaped bars apart."""
    return {line.replace("\\|", "").count("|") - 1 for line in markdown.splitlines() if line.startswith("|")}


def test_whatever_a_cell_holds_it_stays_in_its_cell() -> None:
    grid = Grid(("a", "b"), [["one | two", "three\nfour <script>"]])
    assert grid.markdown().splitlines()[2] == "| one \\| two | three four &lt;script> |"
    assert "&lt;script&gt;" in grid.as_html()


def test_failed_tests_come_first() -> None:
    rows = scenes.staging(scenes.quality(1.5)).tests
    lines = tables.test_table(rows).splitlines()
    assert lines[2] == "| FAILED | refuses a \\| pipe | status 500 &lt;b> | 1.23 |"
    assert lines[3] == "| passed | is alive | alive | 0.01 |"


def test_every_step_shows_users_failures_and_the_other_colour() -> None:
    bad = scenes.step(60, 4, ActionKind.ROLL_BACK, failed=11, p95=0.6)
    lines = tables.step_table([bad.metrics]).splitlines()
    assert lines[2] == "| shift | 60 % | 4 | 72 | 11 (15.3%) | 20 | 0 | 0 | 600 ms | 48 | 0 | 40 ms |"


def test_a_step_without_answers_has_no_latency() -> None:
    silent = scenes.step(20, 3, ActionKind.PARK).metrics.replace(p95_seconds=None)
    assert "| – | 72 | 0 | 40 ms |" in tables.step_table([silent])


def test_quality_beside_production_shows_classes_total_and_images() -> None:
    record = scenes.quality(7.0)
    assert record.comparison is not None
    table = tables.quality_table(record)
    assert table.startswith("**FAIL** mAP50 ")
    assert (
        f"| {record.comparison.candidate_map50:.3f} | {record.comparison.production_map50:.3f} | "
        f"{record.comparison.candidate_map50 - record.comparison.production_map50:+.3f} |"
    ) in table
    assert record.comparison.disagreements[0].image in table
    assert columns(table) == {5, 6, 7}


def test_quality_of_a_first_release_stands_alone() -> None:
    record = scenes.quality(1.5).replace(comparison=None)
    table = tables.quality_table(record)
    assert table.startswith("**PASS** mAP50 ")
    assert columns(table) == {2}
    assert f"| all (mAP50) | {record.absolute.map50:.3f} |" in table
