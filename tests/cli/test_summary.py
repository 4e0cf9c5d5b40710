"""What a sweep says at its end."""

from __future__ import annotations

from pathlib import Path

from conftest import run_command


def test_a_sweep_without_tracking_names_no_mlflow(own_data: list[str], tmp_path: Path) -> None:
    command = ["-m", "blocks=tiny", *own_data, "outputs_dir=out", "claude.n_iter_block=1", "tracking=none"]
    result = run_command(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "scientific record" in result.stdout
    assert "mlflow" not in (result.stdout + result.stderr).lower()
