from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.console import Console

from banana_delivery.delivery import launch
from banana_delivery.delivery.ending.ended import Ended
from banana_delivery.delivery.ending.remote import checked_server
from banana_delivery.errors import BadSettingsError
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import CONSEQUENCES
from banana_delivery.quoting import in_ci_log
from banana_delivery.settings import Settings

HOSTILE = "class '</td>[x](https://evil.example)'\n::add-path::/tmp\n# heading | cell ![i](http://evil.example/p.png)"
URL = "https://dagster.example.com/runs/17"


def attempt(**parts: object) -> AttemptRecord:
    return AttemptRecord(version="7", outcome=Outcome.ROLLED_BACK, reason=HOSTILE, at=1.0).replace(**parts)


def test_a_summary_holds_the_figures_and_nothing_that_a_stranger_made_of_it() -> None:
    page = Ended.logged(attempt(requests=1200, failed=3, rollback_seconds=0.42, actor="claimed by ada"), URL).markdown
    assert page.startswith("### Version 7: rolled back\n")
    assert "| Requests, failed | 1,200, 3 |" in page
    assert "| Seconds to roll back | 0.4 |" in page
    assert f"Run: <{URL}>" in page
    lines = page.splitlines()
    assert not [line for line in lines[1:] if line.startswith(("#", "::"))]
    bare = re.sub(r"`[^`]*`", "", page)  # what stands there is shown as it is
    assert "](http" not in bare and "</td>" not in bare


def test_summaries_of_several_versions_stand_one_below_the_other(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for version in ("7", "8"):
        Ended(version=version, outcome=Outcome.RELEASED, reason="It serves.", url=URL).write(page)
    assert page.read_text().count("### Version ") == 2


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_a_release_ends_with_zero_and_nothing_with_what_other_programs_say(outcome: Outcome) -> None:
    code = Ended(version="7", outcome=outcome, reason="", url=URL).exit_code
    assert (code == 0) is (outcome is Outcome.RELEASED)
    assert code not in {1, 2}


@pytest.mark.parametrize(
    "text", ["::add-path::/tmp", "  ::error::x", "a\n::set-output name=b::c", "x ##[set-env name=A]b"]
)
def test_no_line_of_a_log_is_an_order_to_the_server_that_keeps_it(text: str) -> None:
    line = in_ci_log(text)
    assert "\n" not in line
    assert not line.lstrip().startswith("::")
    assert "##[" not in line
    assert in_ci_log(line) == line


def test_an_address_stays_as_it_is_in_a_log() -> None:
    assert in_ci_log("Version 7: http://[::1]:3000/runs/17") == "Version 7: http://[::1]:3000/runs/17"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "dagster:3000",
        "ftp://dagster",
        "https://",
        "https://ada:secret@dagster",
        "https://dagster/?a=b",
        "https://d#x",
    ],
)
def test_what_is_no_address_of_the_pages_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(BadSettingsError) as raised:
        checked_server(url)
    assert "secret" not in str(raised.value)


def test_an_address_is_taken_with_its_path_and_without_its_last_slash() -> None:
    assert checked_server("https://dagster.example.com/prod/") == "https://dagster.example.com/prod"


@pytest.mark.parametrize(
    ("codes", "ran", "ends"), [([0, 0], 2, 0), ([3, 0], 2, 3), ([0, 4], 2, 4), ([5, 0], 1, 5), ([3, 6], 2, 3)]
)
def test_of_several_the_first_that_was_not_released_says_how_it_ended(
    codes: list[int], ran: int, ends: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left, done = iter(codes), []

    def one(settings: Settings, version: str, *_: object) -> launch.Launched:
        done.append(version)
        code = next(left)
        outcome = next(one for one, row in CONSEQUENCES.items() if row.exit_code == code)
        return launch.Launched(version, "run", "url", Ended(version=version, outcome=outcome, reason="", url="url"))

    monkeypatch.setattr(launch, "deliver_one", one)
    asked = ("redeploy", "redeploy", ())
    launched, code = launch.deliver_all(
        Settings(home=tmp_path), lambda typed: typed, asked, ["1", "2"], Console(), launch.Wish(page=None)
    )
    assert (code, len(done)) == (ends, ran)
    assert [one.json()["exit_code"] for one in launched] == codes[:ran]
