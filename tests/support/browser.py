"""Chromium, as people's pages are looked at in tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Error, Page, sync_playwright

WIDE, NARROW = 1280, 390
SCREENS = [(WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")]
"""Width in pixels and what the person's system is set to."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of the machine, or the one that playwright installed."""
    with ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        try:
            opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        except Error as error:
            pytest.skip(f"There is no Chromium here: {error.message.splitlines()[0]}")
        yield stack.enter_context(opened)


def serious(page: Page) -> list[str]:
    """What axe finds that keeps somebody from using a page: the rule, and the first place."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in {"serious", "critical"}]


def overflow(page: Page) -> int:
    """Pixels by which a page is wider than its screen."""
    wider: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wider
