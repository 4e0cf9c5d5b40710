"""What a sweep says at its end."""

from __future__ import annotations

from conftest import Swept


def test_a_sweep_without_tracking_names_no_mlflow(smallest: Swept) -> None:
    assert "scientific record" in smallest.result.stdout
    assert "mlflow" not in (smallest.result.stdout + smallest.result.stderr).lower()


def test_paths_below_the_working_folder_are_short(smallest: Swept) -> None:
    for line in smallest.result.stdout.splitlines():
        assert len(line) <= 80
    assert str(smallest.outputs.parent) not in smallest.result.stdout
