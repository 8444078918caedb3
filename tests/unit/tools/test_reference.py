"""The pages about commands and the API say what the code says, and the site has every page."""

from __future__ import annotations

import re

from tests import ROOT
from tools.reference import API, COMMANDS, api_page, commands_page, described

OUT_OF_DATE = "is out of date; write it again: .venv/bin/python -m tools.reference"


def test_the_pages_say_what_the_code_says() -> None:
    assert COMMANDS.read_text(encoding="utf-8") == commands_page(), f"{COMMANDS.name} {OUT_OF_DATE}"
    assert API.read_text(encoding="utf-8") == api_page(described()), f"{API.name} {OUT_OF_DATE}"


def test_every_route_has_its_parameters_and_answers() -> None:
    page = api_page(described())
    assert "## `POST /predict`" in page
    assert (
        "| `confidence` | query | number, 0 to 1, default 0.25 | Only detections with a higher score are returned. |"
        in page
    )
    assert "| 503 | Not ready, or all places taken; see Retry-After. |" in page


def test_every_document_is_a_page_of_the_site() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    named = set(re.findall(r"^([\w./-]+)$", index, re.MULTILINE))
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages <= named
