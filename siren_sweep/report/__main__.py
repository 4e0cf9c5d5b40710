"""`python -m siren_sweep.report SWEEP_FOLDER` writes the report of a sweep again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from siren_sweep.errors import SweepError
from siren_sweep.export import open_sweep
from siren_sweep.report import write_report


def main() -> None:
    """Write the report of a sweep again, from its studies and saved files."""
    parser = argparse.ArgumentParser(prog="python -m siren_sweep.report", description=main.__doc__)
    parser.add_argument("sweep_folder", type=Path, help="outputs/<sweep.name>")
    try:
        paths, outputs, studies, validations = open_sweep(parser.parse_args().sweep_folder)
        write_report(paths, outputs, studies, validations)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"written to {paths.report}")


if __name__ == "__main__":
    main()
