"""Measures the steps a second of several trials that share one GPU, with and without NVIDIA's MPS, and of one alone.

    python bench/gpu_trials.py --device cuda --json FILE

Each trial is a process that trains the same config on noise (see `engine.py`), all for the same time. A sweep starts
MPS for the same purpose (`siren_sweep/sweep/mps.py`). Where MPS is not installed or does not work, it has no row.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import torch
from engine import N_TYPES, config_of, machine, noise_field

from siren_sweep.sweep.mps import shared_gpus
from siren_sweep.train.engine import make_engine
from siren_sweep.train.machine import n_gpus, resolve_device

SIZES = "128x5x8,512x4x8"
START_S = 300.0  # how long all processes may take until the last of them is ready


def main() -> None:
    """Measure every size, print and write a row for one trial, for several, and for several with MPS."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument("--sizes", default=SIZES, help="hidden x layers x frames a batch, comma-separated")
    parser.add_argument("--trials", type=int, default=4, help="trials that run at once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=15, help="seconds for which they train (%(default)s)")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    rows = []
    for size in options.sizes.split(","):
        for n_trials in (1, options.trials):
            rows.append(row(size, n_trials, options, mps=False))
        with shared_gpus(options.trials, min(1, n_gpus(options.device))) as runs:
            if runs:
                rows.append(row(size, options.trials, options, mps=True))
    for known in rows:
        known["machine"] = machine(options.device)  # last, since until then this process must not use the GPU
    options.json.write_text(json.dumps(rows, indent=1) + "\n")


def row(size: str, n_trials: int, options: argparse.Namespace, mps: bool) -> dict[str, Any]:
    """The row of `n_trials` trials that run at once."""
    rates = at_once(size, n_trials, options.device, options.seconds)
    shown = f"{size:>12}  {n_trials} trials  {'MPS' if mps else '   '}"
    print(f"{shown}  {sum(rates):9.1f} steps/s in all, {min(rates):.1f} to {max(rates):.1f} each", flush=True)
    return {"size": size, "trials": n_trials, "mps": mps, "steps_per_s": sum(rates), "each": rates}


def at_once(size: str, n_trials: int, device: str, seconds: float) -> list[float]:
    """Steps a second of each of `n_trials` processes that train at the same time."""
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    ready = context.Barrier(n_trials)
    processes = [context.Process(target=trial, args=(size, device, seconds, ready, results)) for _ in range(n_trials)]
    for process in processes:
        process.start()
    try:
        return [results.get(timeout=START_S + seconds) for _ in processes]
    finally:
        for process in processes:
            process.join(timeout=30)
            process.kill()


def trial(size: str, device: str, seconds: float, ready: Any, results: Any) -> None:
    """The main function of a process: wait until all are ready, then count the steps within `seconds`."""
    torch.set_num_threads(1)
    hidden, layers, frames = map(int, size.split("x"))
    engine = make_engine(noise_field(N_TYPES), config_of(hidden, layers, frames), resolve_device(device))
    engine.advance(10)  # libraries are loaded, and the graph is captured
    ready.wait(timeout=START_S)
    n_steps, started = 0, time.monotonic()
    while (spent := time.monotonic() - started) < seconds:
        engine.advance(20)
        n_steps += 20
    results.put(n_steps / spent)


if __name__ == "__main__":
    main()
