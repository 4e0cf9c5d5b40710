"""`python -m siren_sweep.record SWEEP_FOLDER`: the record again, from the studies alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from siren_sweep.errors import SweepError
from siren_sweep.export import open_sweep
from siren_sweep.record.writer import write_record


def main() -> None:
    """Make the record of a sweep again."""
    parser = argparse.ArgumentParser(prog="python -m siren_sweep.record", description=main.__doc__)
    parser.add_argument("sweep_folder", type=Path, help="outputs/<sweep.name>")
    try:
        paths, _, studies, validations = open_sweep(parser.parse_args().sweep_folder)
        write_record(paths, studies, validations)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"written to {paths.record}")


if __name__ == "__main__":
    main()
