"""Each part is asked, whatever another one says, and what is wrong says what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from banana_delivery.delivery.upkeep.doctor import Doctor, Finding, locked
from banana_delivery.errors import RegistryError
from banana_delivery.images.fake import FakeImages
from banana_delivery.model_registry.fake import FakeRegistry
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.settings import Settings
from banana_delivery.targets.fake import FakeTarget

NOW = 1_700_000_000.0


class Away(FakeRegistry):
    def staged(self) -> list[object]:  # type: ignore[override]
        raise RegistryError("MLflow is away; start it.")


@pytest.fixture
def well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    settings = Settings(home=home, least_free_gib=0)
    notifier = Notifier(home / "notifications.jsonl")
    return Doctor(settings, FakeRegistry(), FakeImages(), FakeTarget(), notifier, NOW)


def found(doctor: Doctor) -> dict[str, Finding]:
    return {finding.part: finding for finding in doctor.examine()}


def test_what_was_never_started_is_well_but_for_what_does_not_run(well: Doctor) -> None:
    assert {part for part, finding in found(well).items() if finding.wrong} == {"dagster", "sensors"}


def open_to_others(doctor: Doctor) -> Doctor:
    doctor.settings.home.chmod(0o755)
    return doctor


def without_room(doctor: Doctor) -> Doctor:
    return replace(doctor, settings=doctor.settings.model_copy(update={"least_free_gib": 1e9}))


def without_registry(doctor: Doctor) -> Doctor:
    return replace(doctor, model_registry=Away())


def with_half_a_key(doctor: Doctor) -> Doctor:
    keys = doctor.settings.home / "evidence.keys"
    keys.write_text("abc\n")
    keys.chmod(0o600)
    return doctor


def with_one_key_for_two(doctor: Doctor) -> Doctor:
    location = CodeLocation.of(doctor.settings)
    location.evidence.signing()
    (doctor.settings.home / "pages.keys").hardlink_to(doctor.settings.home / "evidence.keys")
    return doctor


def with_a_channel_that_is_none(doctor: Doctor) -> Doctor:
    return replace(doctor, notifier=Notifier(doctor.settings.home / "notifications.jsonl", ["nonsense"]))


@pytest.mark.parametrize(
    ("spoil", "part", "advice"),
    [
        (open_to_others, "home", "chmod 700"),
        (without_room, "disk", "banana-delivery prune"),
        (without_registry, "mlflow", "start it"),
        (with_half_a_key, "keys", "openssl rand"),
        (with_one_key_for_two, "keys", "BANANA_PAGES_KEY_FILE"),
        (with_a_channel_that_is_none, "people", "write it as its documentation says"),
    ],
)
def test_what_is_wrong_says_what_to_do_and_keeps_no_other_part_from_being_asked(
    well: Doctor, spoil: Callable[[Doctor], Doctor], part: str, advice: str
) -> None:
    before = found(well)

    after = found(spoil(well))

    assert (before[part].wrong, after[part].wrong) == (False, True)
    assert advice in after[part].said
    assert after.keys() == before.keys()


def test_a_variable_that_nothing_reads_is_among_the_findings(well: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANANA_PLANN", "demo")
    assert found(well)["settings"] == Finding(
        "settings", "BANANA_PLANN is no setting, so that it changes nothing; do you mean BANANA_PLAN?", wrong=True
    )


def test_of_two_versions_in_a_lock_the_one_for_this_python_counts() -> None:
    lock = (
        "numpy==1.0 ; python_full_version < '3.0' \\\n    --hash=sha256:0\n"
        "numpy==2.0 ; python_full_version >= '3.0' \\\n    --hash=sha256:1\n"
        "other-package==3 \\\n    --hash=sha256:2\n"
    )
    assert locked(lock) == {"numpy": "2.0", "other-package": "3"}
