"""`python -m siren_sweep.record SWEEP_FOLDER`: the record again, from the studies alone."""

from __future__ import annotations

from pathlib import Path

from optuna.study import Study

from siren_sweep.export import sweep_command
from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.record.writer import write_record


def _write(paths: SweepPaths, _: OutputPaths, studies: dict[int, Study], validations: dict[int, Study]) -> Path:
    write_record(paths, studies, validations)
    return paths.record


def main() -> None:
    """Make the record of a sweep again."""
    sweep_command("siren_sweep.record", "Make the record of a sweep again.", _write)


if __name__ == "__main__":
    main()
