"""Which installation started what."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.processes import ROUTER, router
from banana_delivery.embedded.supervisor import Program, Supervisor
from banana_delivery.embedded.upgrade import installation
from banana_delivery.embedded.upgrade.installation import MARK, mark, started_by
from banana_delivery.platforms import PLATFORMS
from banana_delivery.settings import Settings


def test_what_launches_work_bears_the_mark_of_its_installation_and_what_serves_does_not(tmp_path: Path) -> None:
    marks = {
        each.program.name: each.program.environment.get(MARK)
        for each in PLATFORMS["local"].processes(Settings(home=tmp_path))
    }
    assert marks.pop(ROUTER) is None
    assert set(marks.values()) == {mark()} != {""}


def test_the_folder_of_who_started_a_program_is_known_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "router.ini"
    file.write_text(router(Settings(home=tmp_path)).program.render(tmp_path))
    assert started_by(file, ROUTER) == Path(sys.prefix)


@pytest.mark.parametrize("command", ["traefik", ""])
def test_a_program_that_says_no_folder_has_none(tmp_path: Path, command: str) -> None:
    file = tmp_path / "sleeper.ini"
    file.write_text(Program(name="sleeper", command=(command,), directory=tmp_path, inherits=None).render(tmp_path))
    assert started_by(file, "sleeper") is None
    assert started_by(tmp_path / "none.ini", "sleeper") is None


def test_a_router_is_started_again_only_where_it_shall_listen_elsewhere(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert not router(settings).outlasts()
    router(settings).prepare()
    assert router(settings).outlasts()
    assert not router(settings.model_copy(update={"production_port": 8999})).outlasts()
    (tmp_path / "router" / "traefik.yml").write_text("half: [")
    assert not router(settings).outlasts()


def test_what_a_router_was_started_with_counts_whatever_was_prepared_since(tmp_path: Path) -> None:
    """`up` with other ports may have died between the two."""
    settings = Settings(home=tmp_path)
    elsewhere = settings.model_copy(update={"production_port": 8999})
    supervisor = Supervisor(LocalPaths(tmp_path))
    for each in (settings, elsewhere):
        router(each).prepare()
    supervisor.write(router(settings).program)
    assert router(settings).outlasts()
    assert not router(elsewhere).outlasts()
    assert not supervisor.has(router(elsewhere).program)


def test_code_that_is_pulled_into_a_checkout_is_another_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "PACKAGE", tmp_path)
    marks = []
    for code in ("x = 1", "x = 2"):
        (tmp_path / "module.py").write_text(code)
        mark.cache_clear()
        marks.append(mark())
    mark.cache_clear()
    assert len({*marks, ""}) == 3
