"""The settings file of a home: read by every command of it, under the variables, and without a secret of theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from typer.testing import CliRunner

from banana_delivery import cli
from banana_delivery.delivery.upkeep.settings_file import BEGINNING, SettingsFile, _lines, _with
from banana_delivery.embedded.processes import INHERITED
from banana_delivery.errors import BadSettingsError
from banana_delivery.settings import Settings


def opened(home: Path, text: str | bytes | None, **variables: str) -> tuple[SettingsFile, dict[str, str]]:
    environment = {"BANANA_HOME": str(home), **variables}
    if text is not None:
        home.mkdir(exist_ok=True)
        (home / "settings.env").write_bytes(text if isinstance(text, bytes) else text.encode())
    return SettingsFile.of_home(environment), environment


def test_what_the_file_says_counts_where_no_variable_does(tmp_path: Path) -> None:
    text = "# mine\nBANANA_POLICY=demo\nexport BANANA_KEEP_VERSIONS='5'\n"
    file, environment = opened(tmp_path, text, BANANA_POLICY="seed")
    undo = file.apply(environment)
    assert (environment["BANANA_POLICY"], environment["BANANA_KEEP_VERSIONS"]) == ("seed", "5")
    assert (file.origin("BANANA_POLICY"), file.origin("BANANA_KEEP_VERSIONS")) == ("variable", "file")
    undo()
    assert environment == {"BANANA_HOME": str(tmp_path), "BANANA_POLICY": "seed"}


def test_an_empty_variable_takes_a_line_back_and_up_keeps_that_for_other_shells(tmp_path: Path) -> None:
    text = "BANANA_NOTIFY_URLS='[\"json://host\"]'\nBANANA_POLICY=demo\nBANANA_REGISTRY_REPOSITORY=r.test/a\n"
    empty = dict.fromkeys(("BANANA_NOTIFY_URLS", "BANANA_REGISTRY_REPOSITORY", "BANANA_OSV_URL"), "")
    file, environment = opened(tmp_path, text, **empty)
    file.apply(environment)
    assert (environment["BANANA_NOTIFY_URLS"], file.origin("BANANA_NOTIFY_URLS")) == ("", "variable")
    assert file.remember(Settings(home=tmp_path), environment) == (["BANANA_REGISTRY_REPOSITORY"], [])
    lines = opened(tmp_path, None)[0].lines
    assert {name: line.value for name, line in lines.items()} == {
        "BANANA_NOTIFY_URLS": '["json://host"]',  # A secret is for whoever wrote it.
        "BANANA_POLICY": "demo",
        "BANANA_REGISTRY_REPOSITORY": "",
    }


def test_without_a_file_nothing_changes_and_nothing_is_made(tmp_path: Path) -> None:
    file, environment = opened(tmp_path / "home", None)
    file.apply(environment)
    assert environment == {"BANANA_HOME": str(tmp_path / "home")}
    assert file.remember(Settings(home=tmp_path / "home"), environment) == ([], [])
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n\nBANANA_POLICY\n", "line 3 is no setting; write it as NAME='value'."),
        ("A=1\nBANANA_POLICY='demo\n", "line 2 is no setting"),
        ("BANANA_HOME=/elsewhere\n", "line 1: BANANA_HOME says where this file is; set it as a variable."),
        ("BANANA_POLICY=demo\n\nBANANA_POLICY=seed\n", "line 3: `BANANA_POLICY` stands in line 1 already; remove one."),
        (b"BANANA_POLICY=\xff\n", "is no text in UTF-8"),
        (b"BANANA_POLICY=a\0b\n", "is no file of settings"),
        (b"#" * 1_000_001, "is no file of settings"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_file_and_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(BadSettingsError) as refusal:
        opened(tmp_path, text)
    sentence = str(refusal.value).replace('"', "`").replace("'BANANA_POLICY'", "`BANANA_POLICY`")
    assert str(tmp_path / "settings.env") in sentence
    assert said in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("BANANA_KEEP_VERSIONS=none", "BANANA_KEEP_VERSIONS cannot be used"),
        ("BANANA_NOTIFY_URLS=slack://hunter2", "BANANA_NOTIFY_URLS must be JSON"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_with_its_line_and_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str
) -> None:
    import os

    monkeypatch.setenv("BANANA_HOME", str(tmp_path))
    file, _ = opened(tmp_path, f"# one\n\n{line}\n")
    before = dict(os.environ)
    with pytest.raises(BadSettingsError) as refusal:
        file.apply(os.environ)
    assert str(refusal.value).startswith(f"{tmp_path / 'settings.env'}, line 3: {said}")
    assert "hunter2" not in str(refusal.value)
    assert dict(os.environ) == before


def test_a_name_that_nobody_reads_is_told_as_for_variables(tmp_path: Path) -> None:
    file, _ = opened(tmp_path, "BANANA_PLANN=demo\nMLFLOW_TRACKING_URI=http://m\nPATH=/bin\n")
    planned, path = file.strangers()
    where = tmp_path / "settings.env"
    assert planned == (
        f"{where}, line 1: BANANA_PLANN is no setting, so that it changes nothing; do you mean BANANA_PLAN?"
    )
    assert path.startswith(f"{where}, line 3: ") and "is no setting" in path


def test_up_adds_what_it_was_told_and_no_secret_of_a_variable(tmp_path: Path) -> None:
    written = "# mine\nBANANA_KEEP_VERSIONS=5  # few\nBANANA_REGISTRY_PASSWORD='by-hand-1234'\nBANANA_POLICY=demo\n"
    variables = {
        "BANANA_KEEP_VERSIONS": "7",
        "BANANA_HOLDOUT": "leaves",
        "BANANA_NOTIFY_URLS": '["json://user:hunter2@host"]',
        "BANANA_OSV_URL": "https://user:hunter2@osv.example.com",
        "BANANA_REGISTRY_PASSWORD": "another-5678",
        "MLFLOW_TRACKING_URI": "http://mlflow.example.com",
        "KUBECONFIG": "",
        "BANANA_PLANN": "demo",
    }
    file, environment = opened(tmp_path, written, **variables)
    settings = Settings(
        home=tmp_path,
        keep_versions=7,
        policy="demo",
        holdout=Path("leaves"),
        notify_urls=[SecretStr("json://user:hunter2@host")],
        osv_url="https://user:hunter2@osv.example.com",
        registry_password=SecretStr("another-5678"),
    )
    assert file.remember(settings, environment) == (
        ["BANANA_HOLDOUT", "BANANA_KEEP_VERSIONS", "MLFLOW_TRACKING_URI"],
        ["BANANA_NOTIFY_URLS", "BANANA_OSV_URL"],
    )
    path = tmp_path / "settings.env"
    assert path.read_text() == (
        "# mine\nBANANA_KEEP_VERSIONS='7'\nBANANA_REGISTRY_PASSWORD='by-hand-1234'\nBANANA_POLICY=demo\n"
        f"BANANA_HOLDOUT='{Path.cwd() / 'leaves'}'\nMLFLOW_TRACKING_URI='http://mlflow.example.com'\n"
    )
    assert path.stat().st_mode & 0o777 == 0o600
    again, environment = opened(tmp_path, None, **variables)
    assert again.remember(settings, environment)[0] == []


def test_a_file_that_up_makes_says_what_it_is(tmp_path: Path) -> None:
    file, environment = opened(tmp_path, None, BANANA_PORT_OFFSET="100")
    file.remember(Settings(home=tmp_path, port_offset=100), environment)
    assert file.path.read_text() == f"{BEGINNING}BANANA_PORT_OFFSET='100'\n"
    assert opened(tmp_path, None)[0].lines["BANANA_PORT_OFFSET"].value == "100"


@given(value=st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])))
def test_whatever_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = tmp_path_factory.getbasetemp() / "round.env"
    path.write_bytes(_with("A=1", {"BANANA_POLICY": value}).encode())
    assert {name: line.value for name, line in _lines(path)} == {"A": "1", "BANANA_POLICY": value}


def test_every_command_of_the_home_goes_by_it_and_settings_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path, "BANANA_KEEP_VERSIONS=5\nBANANA_REGISTRY_PASSWORD='hunter2hunter2'\n")
    monkeypatch.setenv("BANANA_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    told = json.loads(CliRunner().invoke(cli.app, ["settings", "--json"]).output)
    assert told["keep_versions"] == {"value": 5, "set": True, "from": "file"}
    assert told["registry_password"] == {"value": "**********", "set": True, "from": "file"}
    shown = CliRunner().invoke(cli.app, ["settings"]).output
    assert "file, line 2" in shown and "hunter2" not in shown
    assert Settings().keep_versions == 10, "it counts for the command alone"


def test_the_stacks_processes_get_what_they_need_as_before(tmp_path: Path) -> None:
    """They are told by their starter's variables, each by its own; no module that they run reads the file."""
    readers = [
        path
        for path in Path(cli.__file__).parents[1].rglob("*.py")
        if "settings_file" in path.read_text() and path.parent.name not in {"cli", "answering"}
    ]
    assert readers == []
    assert all(names is None or "BANANA_*" not in names for names in INHERITED.values())
