"""What strangers may call their classes, versions and errors, and that it does nothing wherever it lands."""

from __future__ import annotations

import io
import logging
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.console import Console
from rich.text import Text

from banana_delivery import quoting, settings
from banana_delivery.reports.tables import Grid
from banana_delivery.targets.kubernetes.traffic import TRAEFIK_QUERIES, _filled

CORPUS = {
    "script": "<script>alert(1)</script>",
    "picture": "<img src=https://evil.example/x.png onerror=alert(1)>",
    "attribute": '" onmouseover="alert(1)',
    "markdown picture": "![a](https://evil.example/x.png)",
    "picture of ours": "![](/graphql?query=mutation{launchRun})",
    "markdown link": "[click me](javascript:alert(1))",
    "reference": "[a]: https://evil.example",
    "bare address": "see https://evil.example/login now",
    "www": "www.evil.example",
    "mail": "ana@evil.example",
    "entity": "https&#58;//evil.example &lt;b&gt;",
    "entity tag": "&#60;img src=x&#62;",
    "marks": "**bold** __bold__ ~~gone~~ `code` *it* _it_",
    "heading": "# Approved",
    "list": "1. first",
    "rule": "---",
    "cells": "a | b || c",
    "escaped bar": "a \\| b \\\\| c",
    "backtick in address": "https://`evil`|example",
    "lines": "first\nNext: banana-delivery override 9\r\nlast",
    "other lines": "first\u2028second\x85third\x0bfourth",
    "escape": "\x1b[2J\x1b[31mAPPROVED\x1b[0m",
    "c1 escape": "\x9b31mred",
    "link of a terminal": "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07",
    "backspace": "REJECTED" + 8 * "\x08" + "RELEASED",
    "rtl": "\u202edesaeler\u202c",
    "isolate": "\u2066a\u2069",
    "zero width": "ad\u200bmin\u2060\ufeff\u200d",
    "tags": "\U000e0041\U000e0042",
    "soft hyphen": "over\u00adride",
    "everyone": "@everyone the model is fine; type: override 9",
    "here": "(@here) @channel",
    "slack": "<!channel> <@U123> <https://evil.example|our pages>",
    "rich": "[red]APPROVED[/red] [link=https://evil.example]x[/link]",
    "unbalanced": "[/]",
    "long": "a" * 1_000_000,
    "long lines": "a\n" * 100_000,
    "nul": "a\0b",
    "above": "../../../etc/passwd",
    "root": "/etc/passwd",
    "dots": "..",
    "dot": ".",
    "hidden": ".ssh",
    "windows": "C:\\x\\..\\y",
    "empty": "",
    "promql": '"} or vector(1) or foo{a="',
    "braces": "{route}{service}{namespace}",
    "pattern": ".*|a",
    "formula": "$\\frac{$ $x^{$",
    "surrogate": "a\udcffb",
    "percent": "%s %d %(name)s %2e%2e%2f",
}
EACH = pytest.mark.parametrize("text", CORPUS.values(), ids=CORPUS)
UNSEEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
INNOCENT = (
    "mAP50 0.912 on 1,000 labelled images reaches the minimum of 0.5; p95 40 ms (budget 250 ms).",
    "Version 7 (sha256:0123abc) is in production already; nothing had to change.",
    "black_sigatoka",
    "type: banana-delivery approve 7 --reason '...'",
    "Größe 640 × 640, ✅",
)


@pytest.mark.parametrize(
    "quote",
    [
        quoting.visible,
        quoting.one_line,
        quoting.in_html,
        quoting.in_markdown,
        quoting.in_notice,
        quoting.in_terminal,
        quoting.in_log,
        quoting.in_plot,
        quoting.in_path,
        quoting.cited,
    ],
)
@EACH
def test_nothing_stays_that_cannot_be_seen(quote: object, text: str) -> None:
    assert callable(quote)
    assert not UNSEEN.search(quote(text))


@pytest.mark.parametrize(
    "quote", [quoting.in_markdown, quoting.in_notice, quoting.in_terminal, quoting.in_log, quoting.in_plot]
)
@pytest.mark.parametrize("text", INNOCENT)
def test_what_the_product_says_itself_stays_as_it_is(quote: object, text: str) -> None:
    assert callable(quote)
    assert quote(text)[: quoting.CITED - 1] == text[: quoting.CITED - 1]


@pytest.mark.parametrize("quote", [quoting.visible, quoting.one_line, quoting.in_notice, quoting.in_log])
@EACH
def test_to_quote_twice_does_no_harm(quote: object, text: str) -> None:
    assert callable(quote)
    assert quote(quote(text)) == quote(text)


@EACH
def test_a_path_has_one_part_more_and_no_other(text: str, tmp_path: Path) -> None:
    for name in (quoting.in_path(text), f"version-{quoting.in_path(text)}-1-released.html"):
        file = tmp_path / name
        assert file.resolve().parent == tmp_path
        assert file != tmp_path
        file.write_text("a report")
        assert [one.name for one in tmp_path.iterdir()] == [name]
        file.unlink()


def test_different_texts_have_different_paths() -> None:
    long = ["a" * 500 + "b", "a" * 500 + "c", "a/b", "a%2Fb", ".", "..", "", "%2E"]
    assert len({quoting.in_path(text) for text in long}) == len(long)


class Seen(HTMLParser):
    """Which elements and attributes a browser would find."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@EACH
def test_html_stays_text_in_elements_and_attributes(text: str) -> None:
    page = Seen()
    page.feed(f'<p title="{quoting.in_html(text)}">{quoting.in_html(text)}</p>')
    assert page.found == [("p", [("title", quoting.visible(text))])]
    assert page.text == quoting.visible(text)


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "vbscript:x", ""])
def test_a_link_leads_to_the_web_or_nowhere(address: str) -> None:
    assert quoting.in_link(address) == "#"
    assert quoting.in_link('https://a/?b="c&d') == "https://a/?b=&quot;c&amp;d"


def rendered(markdown: str) -> Seen:
    """What GitHub's markdown makes of it, with the HTML that is let through, as Dagster's pages do."""
    page = Seen()
    page.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))
    return page


TABLE = {"table", "thead", "tbody", "tr", "th", "td", "code"}


@EACH
def test_markdown_in_a_cell_stays_one_cell_of_text(text: str) -> None:
    page = rendered(Grid(("class", "AP50"), [[text, "0.5"], ["next", "0.6"]]).markdown())
    tags = [tag for tag, _ in page.found]
    assert set(tags) <= TABLE
    assert (tags.count("tr"), tags.count("td")) == (3, 4)


@EACH
def test_markdown_in_a_line_stays_a_line_of_text(text: str) -> None:
    page = rendered(f"{quoting.in_markdown(text)}")
    assert {tag for tag, _ in page.found} <= {"p", "code"}


@EACH
def test_markdown_holds_no_address_that_a_reader_would_make_a_link_of(text: str) -> None:
    """GitHub's flavour makes links of addresses in text that has no mark, after entities are read; never in code."""

    class BesideCode(Seen):
        depth = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.depth += tag == "code"

        def handle_endtag(self, tag: str) -> None:
            self.depth -= tag == "code"

        def handle_data(self, data: str) -> None:
            self.text += "" if self.depth else data

    page = BesideCode()
    page.feed(MarkdownIt("commonmark", {"html": True}).render(quoting.in_markdown(text)))
    assert not re.search(r"https?://|www\.|[-.\w+]+@[-\w]+\.\w", page.text)


@EACH
def test_a_message_calls_nobody_and_is_one_line_of_bounded_length(text: str) -> None:
    said = quoting.in_notice(text)
    assert "\n" not in said
    assert len(said) <= 2 * quoting.MOST_IN_LINE
    assert not re.search(r"(?<!\w)@\w|<[!@#h]|\]\(", said)


@EACH
def test_a_citation_cannot_end_itself(text: str) -> None:
    said = quoting.cited(text)
    assert (said[0], said[-1], said.count("'")) == ("'", "'", 2)
    assert len(said) <= quoting.CITED + 2


@EACH
def test_a_terminal_shows_text_and_obeys_nothing(text: str) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=5_000)
    console.print(quoting.in_terminal(text), highlight=False, emoji=False)
    assert "\x1b" not in out.getvalue()
    assert Text.from_markup(quoting.in_terminal(text)).plain == quoting.one_line(text)


@EACH
def test_a_line_in_the_log_begins_only_where_we_began_it(text: str, caplog: pytest.LogCaptureFixture) -> None:
    settings.load_settings()
    log = logging.getLogger("banana_delivery.test")
    log.warning("A class is called %s.", text[:5_000])
    try:
        int(text[:100] + "x")
    except ValueError as error:
        error.args = (text[:5_000],)
        log.exception("It went wrong.")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    for record in caplog.records:
        handler.emit(record)
    firm = [line for line in stream.getvalue().split("\n") if line and not line.startswith(quoting.INDENT)]
    assert len(firm) == 3 and firm[0].startswith("A class is called ")
    assert firm[1:] == ["It went wrong.", "Traceback (most recent call last):"]


@EACH
@pytest.mark.parametrize("pattern", [True, False])
def test_a_name_in_a_query_stays_within_its_quotes(text: str, pattern: bool) -> None:
    text = text[:5_000]
    quoted = quoting.in_promql(text, pattern=pattern)
    string = re.fullmatch(r'"(?:[^"\\\n]|\\.)*"', f'"{quoted}"')
    assert string
    read = _unquoted(quoted)
    assert re.fullmatch(read, text) if pattern else read == text


def _unquoted(literal: str) -> str:
    named = {"n": "\n", "r": "\r"}
    return re.sub(r"\\(.)", lambda found: named.get(found[1], found[1]), literal)


def test_names_with_braces_are_not_filled_in_again_and_are_no_patterns() -> None:
    names = {"namespace": "{service}", "route": "a.*", "service": '"} or vector(1)'}
    filled = _filled(TRAEFIK_QUERIES["requests"], names)
    assert filled.endswith(
        r'{service=~"httproute-\\{service\\}-a\\.\\*-gw-.+-svc-\\{service\\}-\"\\} or vector\\(1\\)-.*"})'
    )
    assert _filled('up{service="{service}",a=~"b.{route}"}', {"service": "a.b", "route": "c.d"}) == (
        r'up{service="a.b",a=~"b.c\\.d"}'
    )
