"""Programs as supervisord itself reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from supervisor.options import ServerOptions  # type: ignore[import-untyped]

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.supervisor import Program, Supervisor, last_line
from banana_delivery.errors import TargetError

AWKWARD = {
    "COMMAS": "error:rate=0.5,after=200,environment=production",
    "PERCENT": "postgresql://user:p%40ss%20word@host/db?a=1&b=2",
    "QUOTES": """it's""",
    "DOUBLE": 'say "no" twice',
    "EMPTY": "",
    "HASH": "a#b;c",
}


def read_back(program: Program, folder: Path) -> object:
    """The program as supervisord understands it."""
    configuration = folder / "supervisord.conf"
    configuration.write_text(f"[supervisord]\nnodaemon=true\nchildlogdir={folder}\n{program.render(folder)}")
    options = ServerOptions()
    options.realize(["-c", str(configuration)])
    return options.process_group_configs[0].process_configs[0]


def test_awkward_values_arrive_as_they_are(tmp_path: Path) -> None:
    command = ("/bin/a b", "--100%", "it's")

    found = read_back(Program("odd", command, tmp_path, environment=AWKWARD, inherits=None), tmp_path)

    assert getattr(found, "environment") == AWKWARD  # noqa: B009 - supervisor has no types
    assert getattr(found, "command") == "'/bin/a b' --100% 'it'\"'\"'s'"  # noqa: B009


@pytest.mark.parametrize("value", ["two\nlines", "a ; comment", "a # comment", """both ' and " quotes""", 'say "no"'])
def test_what_the_syntax_cannot_express_is_refused_without_telling_the_value(tmp_path: Path, value: str) -> None:
    program = Program("odd", ("true",), tmp_path, environment={"DATABASE_URL": value})

    with pytest.raises(TargetError, match="DATABASE_URL") as refused:
        program.render(tmp_path)
    assert value not in str(refused.value)


def test_a_supervisord_that_does_not_run_is_one_sentence(tmp_path: Path) -> None:
    supervisor = Supervisor(LocalPaths(tmp_path))

    assert not supervisor.alive
    with pytest.raises(TargetError, match="banana-delivery up"):
        supervisor.processes()


def test_the_last_line_is_found_at_the_end_of_a_long_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("line\n" * 5_000 + "ValueError: no such model\n\n")

    assert last_line(log) == "ValueError: no such model"
    assert last_line(tmp_path / "none") == ""
