"""`--help`, the commands that are printed, and where `ui` looks for a sweep."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from siren_sweep import paths
from siren_sweep.cli import commands
from siren_sweep.cli.main import main
from siren_sweep.cli.ui import newest_sweep
from siren_sweep.errors import OutputError


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_commands_groups_overrides_and_examples(
    flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["siren_sweep", flag])
    monkeypatch.setenv("COLUMNS", "60")
    main()
    shown = capsys.readouterr().out
    for name in (*commands.names(), "blocks", "demo, full, tiny", "sampler", "outputs_dir=PATH", "tracking=none"):
        assert name in shown
    assert shown.count("\n  # ") == 3
    told = shown.partition("examples")[0].splitlines()
    assert all(len(line) <= 60 for line in told if "siren-sweep" not in line)


def test_a_printed_command_works_where_it_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "bin/siren-sweep"
    script.parent.mkdir()
    script.touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    monkeypatch.setattr(paths.shutil, "which", lambda name: None)
    monkeypatch.chdir(tmp_path)
    assert paths.command("sync", tmp_path / "a b") == "bin/siren-sweep sync 'a b'"
    assert paths.command("sync", Path("/elsewhere/s")) == "bin/siren-sweep sync /elsewhere/s"
    monkeypatch.setattr(paths.shutil, "which", lambda name: str(script))
    assert paths.command("ui") == "siren-sweep ui"
    script.unlink()
    monkeypatch.setattr(paths.shutil, "which", lambda name: None)
    assert paths.command("ui") == "bin/python -m siren_sweep ui"


def test_the_sweep_that_ran_last_is_found_from_its_folder_or_those_above(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "old")):
        file = tmp_path / "outputs" / name / "study.db"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    for folder in (tmp_path, tmp_path / "outputs", tmp_path / "outputs/new"):
        assert newest_sweep(folder).root == tmp_path / "outputs/new"
    assert newest_sweep(tmp_path / "outputs/old").root.name == "old"
    with pytest.raises(OutputError, match=r"there is none in '.*nowhere'"):
        newest_sweep(tmp_path / "nowhere")
