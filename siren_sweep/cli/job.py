"""`python -m siren_sweep.cli.job OVERRIDE ...`: one attempt at a trial, run as a job of a cluster.

The sweep reads its exit code, which says how it ended, and an `error:` line in the job's log.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import time

from hydra.errors import HydraException

from siren_sweep.cli.main import by_hydra, task
from siren_sweep.config.base import with_base
from siren_sweep.errors import OutputError, SweepError, redacted
from siren_sweep.sweep.cluster.job_trainer import FAULT, INTERRUPTED
from siren_sweep.sweep.worker import Interrupted, Superseded, interrupt
from siren_sweep.text import one_line


def main() -> None:
    """Run the trial that the overrides name. On a signal it writes its checkpoint and ends.

    Raises SystemExit: with code 3 where a signal or another attempt ended it, 2 for a fault that no trial caused.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    for which in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):  # SLURM's; LSF's; LSF's at the time limit
        signal.signal(which, interrupt)
    own = [text for text in sys.argv if text.startswith(("trial.folder=", "trial.attempt="))]
    _say(f"begins on {platform.node()}: {' '.join(own)}")
    try:
        sys.argv[1:] = with_base(sys.argv[1:])
        by_hydra(task)
        _say("ends, its outcome written")
    except (Interrupted, Superseded) as ending:
        _say(f"ends before its time: {ending or 'a signal asked for it'}")
        raise SystemExit(INTERRUPTED) from None
    except SweepError as error:
        _leave(error)
    except HydraException as error:
        _leave(SweepError(f"the config of a job cannot be composed: {error}"))
    except OSError as error:  # the machine's fault, not the config's: a disk is full, a folder is gone
        _leave(OutputError(f"a worker could not go on: {type(error).__name__}: {error}"))


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


def _leave(error: SweepError) -> None:
    text = redacted(one_line(error, 10_000))
    print(f"error: {text}", file=sys.stderr)
    raise SystemExit(FAULT)


if __name__ == "__main__":
    main()
