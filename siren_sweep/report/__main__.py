"""`python -m siren_sweep.report SWEEP_FOLDER` writes the report of a sweep again."""

from __future__ import annotations

from pathlib import Path

from optuna.study import Study

from siren_sweep.export import sweep_command
from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.report import write_report


def _write(paths: SweepPaths, outputs: OutputPaths, studies: dict[int, Study], validations: dict[int, Study]) -> Path:
    write_report(paths, outputs, studies, validations)
    return paths.report


def main() -> None:
    """Write the report of a sweep again, from its studies and saved files."""
    sweep_command("siren_sweep.report", "Write the report of a sweep again, from its studies and saved files.", _write)


if __name__ == "__main__":
    main()
