"""The service that lets trials share a GPU is started, tried and stopped.

`nvidia-cuda-mps-control` is a script here that writes down how it was called: the real one needs a GPU.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from siren_sweep.sweep import mps


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script, calls = tmp_path / mps.CONTROL, tmp_path / "calls"
    script.write_text(
        f'#!/bin/sh\necho "$1 $([ "$1" = -d ] || cat) in $CUDA_MPS_PIPE_DIRECTORY$CUDA_VISIBLE_DEVICES" >> {calls}\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv(mps.PIPES, raising=False)
    return calls


def test_mps_runs_only_while_trials_share_gpus(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mps, "PROBE", 'import os; assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"')
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # which the service must not have, and the processes must
    with mps.shared_gpus(n_trials=4, n_gpus=1) as runs:
        folder = os.environ[mps.PIPES]
        assert runs
        assert calls.read_text() == f"-d  in {folder}\n"
    assert calls.read_text().splitlines()[1:] == [f" quit in {folder}1"]
    assert mps.PIPES not in os.environ
    assert not Path(folder).exists()


def test_trials_run_without_mps_where_it_does_not_work(
    calls: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mps, "PROBE", "raise SystemExit(1)")
    with mps.shared_gpus(n_trials=4, n_gpus=1) as runs:
        assert not runs
        assert mps.PIPES not in os.environ
    assert len(calls.read_text().splitlines()) == 2
    assert "take turns" in capfd.readouterr().err


@pytest.mark.parametrize(("n_trials", "n_gpus"), [(4, 0), (4, 4), (1, 1)])
def test_mps_is_not_started_where_no_gpu_is_shared(calls: Path, n_trials: int, n_gpus: int) -> None:
    with mps.shared_gpus(n_trials, n_gpus) as runs:
        assert not runs
    assert not calls.exists()


def test_a_persons_own_service_is_used(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mps.PIPES, "/run/theirs")
    with mps.shared_gpus(n_trials=4, n_gpus=1) as runs:
        assert runs
    assert os.environ[mps.PIPES] == "/run/theirs"
    assert not calls.exists()
