from html.parser import HTMLParser

from banana_delivery.policy.model import Outcome
from banana_delivery.policy.own_metrics.metric import OwnSeen
from banana_delivery.reports.html import html_report
from banana_delivery.reports.plots import Plots
from tests.unit.reports import scenes

VOID = {"meta", "img"}


class Outline(HTMLParser):
    """Checks that elements nest, and keeps headings, pictures and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"h1", "h2"}:
            self.headings.append(data)
        self.text += data


def test_a_release_is_told_whole_in_one_file() -> None:
    quality = scenes.quality(1.5)
    attempt = scenes.attempt(scenes.promoted_steps(), Outcome.RELEASED, "All steps healthy.")
    page = html_report(
        attempt,
        plots=Plots(),
        budget_seconds=1.0,
        staging=scenes.staging(quality),
        ab=scenes.ab(quality),
        links={"Dagster run": "http://127.0.0.1:3000/runs/1?a=1&b=2"},
    )
    outline = Outline(page)
    assert outline.headings == [
        "Version 7 serves all users since 14:13 UTC", "Rollout",
        "A/B: PASS", "Quality: PASS", "Tests in staging: 1 failed"
    ]  # fmt: skip
    assert page.count("<svg") == page.count("</svg>") == 2
    assert outline.pictures == []
    assert attempt.digest in outline.text
    assert 'href="http://127.0.0.1:3000/runs/1?a=1&amp;b=2"' in page


def test_the_metrics_of_a_team_stand_in_the_report() -> None:
    [first, *others] = scenes.promoted_steps()
    seen = OwnSeen(name="empty", said="3 of 40 <b>", share=0.25, tested=False)
    steps = (first.replace(metrics=first.metrics.replace(own=(seen,))), *others)
    page = html_report(scenes.attempt(steps, Outcome.RELEASED, "Fine."), plots=Plots(), budget_seconds=1.0)
    assert "Metrics of the team" in page
    assert "3 of 40 &lt;b&gt;" in page
    assert "25 %</td><td>threshold" in page


def test_an_attempt_that_ended_early_tells_what_there_is() -> None:
    attempt = scenes.attempt((), Outcome.ERROR, "The registry <did> not answer.").replace(colour=None)
    outline = Outline(html_report(attempt, budget_seconds=1.0, plots=Plots()))
    assert outline.headings == ["Version 7 could not be delivered at 14:13 UTC; version 7 is what production serves"]
    assert "The registry <did> not answer." in outline.text
