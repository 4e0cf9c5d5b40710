"""A single run's own folder."""

from __future__ import annotations

from pathlib import Path

from siren_sweep.cli.single import _free
from siren_sweep.paths import TrialPaths


def test_a_run_does_not_write_over_one_that_ended_at_the_same_time(tmp_path: Path) -> None:
    folder = tmp_path / "12-00-00-000000"
    assert _free(folder) == folder
    for _ in range(2):
        free = _free(folder)
        free.mkdir()
        TrialPaths(free).result.write_text("{}")
    TrialPaths(folder).checkpoint.write_text("")  # of a run that its time ended, and that can go on
    assert _free(folder) == folder
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["12-00-00-000000", "12-00-00-000000_2"]
