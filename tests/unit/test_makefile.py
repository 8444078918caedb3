"""What make says: what can be made if it is asked for nothing, and no lines of shell where people start."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
(PHONY,) = re.findall(r"^\.PHONY: (.*)$", re.sub(r"\\\n\s*", "", MAKEFILE), re.MULTILINE)


def make(*arguments: str) -> str:
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_make_alone_shows_every_target_that_people_type_with_a_line() -> None:
    shown = dict(re.findall(r"^  make (\S+) +(\S.*)$", make(), re.MULTILINE))
    assert set(shown) == set(PHONY.split())
    assert make("help") == make()


@pytest.mark.parametrize("target", ["up", "down", "demo"])
def test_whoever_starts_reads_sentences_and_no_shell(target: str, tmp_path: Path) -> None:
    for tool in ("banana-delivery", "uv"):
        (tmp_path / tool).write_text('#!/bin/sh\ntest "${0##*/}" = uv || echo "It runs."\n')
        (tmp_path / tool).chmod(0o755)
    known = [f"BIN={tmp_path}", f"UV={tmp_path}/uv"]
    assert make("--assume-old=.venv/.product", *known, target) == "It runs.\n"
    # As in a fresh clone, where it is installed first; nothing is written since touch is nobody's here.
    (tmp_path / "touch").symlink_to("/bin/true")
    said = make("--assume-new=pyproject.toml", f"--eval=export PATH:={tmp_path}:$(PATH)", *known, target)
    assert re.fullmatch(r"Installing requirements/\w+\.txt into \.venv \(.*\)\nIt runs\.\n", said)
