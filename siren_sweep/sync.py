"""`python -m siren_sweep.sync SWEEP_FOLDER`: send to MLflow what an outage kept from it, in order and once."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from siren_sweep.errors import SweepError, redacted
from siren_sweep.export import open_sweep
from siren_sweep.lock import locked
from siren_sweep.studies import has_ended
from siren_sweep.tracking import Mirror


def main() -> None:
    """Send to MLflow what it does not have of a sweep."""
    parser = argparse.ArgumentParser(prog="python -m siren_sweep.sync", description=main.__doc__)
    parser.add_argument("sweep_folder", type=Path, help="outputs/<sweep.name>")
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI"),
        help="of the server (default: $MLFLOW_TRACKING_URI, else the sqlite file beside the sweep)",
    )
    options = parser.parse_args()
    try:
        paths, outputs, blocks, validations = open_sweep(options.sweep_folder)
        with locked(paths):
            mirror = Mirror(options.tracking_uri, outputs, paths)
            mirror.update(blocks, validations, over=all(has_ended(study) for study in blocks.values()))
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except Exception as error:  # MLflow's, the driver's and the network's own kinds
        print(f"error: MLflow could not be reached: {redacted(str(error))}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"MLflow has all of {paths.root.name}")


if __name__ == "__main__":
    main()
