"""A program that is changed while a sweep runs ends it: no trial is of two programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from untrained import run

from siren_sweep.errors import SweepStateError
from siren_sweep.sweep import loop, program_files
from siren_sweep.sweep.hydra_jobs import run_hydra_job


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of a program that a sweep has begun with."""
    (tmp_path / "code").mkdir()
    file = tmp_path / "code" / "model.py"
    file.write_text("RATE = 1\n")
    monkeypatch.setattr(program_files, "_ROOT", file.parent)
    monkeypatch.setenv("SIREN_SWEEP_PROGRAM", "")
    program_files.remember()
    return file


def more(file: Path) -> None:
    file.write_text("RATE = 2\n")


def another(file: Path) -> None:
    (file.parent / "new.py").write_text("RATE = 1\n")


@pytest.mark.parametrize("change", [more, another, Path.unlink])
def test_a_change_is_told_before_a_job_reads_anything(code: Path, change: Callable[[Path], object]) -> None:
    program_files.check()
    code.touch()
    program_files.check()
    change(code)
    with pytest.raises(SweepStateError, match=r"code was changed while the sweep ran, .* the same command goes on"):
        run_hydra_job(b"no job")


def test_a_sweep_ends_between_two_batches_and_goes_on_with_the_new_program(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = loop.Planner.plan

    def changing(*args: object) -> bool:
        more(code)
        return bool(plan(*args))  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(loop.Planner, "plan", changing)
        with pytest.raises(SweepStateError, match="was changed while the sweep ran"):
            run(tmp_path, {}, monkeypatch, "claude.n_iter_block=8")
    program_files.remember()
    configs = run(tmp_path, {}, monkeypatch, "claude.n_iter_block=8")
    assert [len(own) for own in configs.values()] == [8, 8]
