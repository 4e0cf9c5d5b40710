"""Measures the time of a training step: our engine and the plain loop take turns in one process, on one thread.

    python bench/engine.py --sizes 128x5x8,256x3x8 --json FILE

The field is noise on the 217-column hexagonal lattice, with eight receptors a column (or one, with --no-duplicates),
since the time of a step does not depend on what is learned. Every figure is the median over the turns. `ratio` and
`share` are computed within each turn, since clock rates drift. Seconds on a CPU are the thread's CPU time, on which
other work has less effect; on a GPU they are wall time.

`share` is how much of the machine's rate of matrix products a step reaches. A step has 6 * parameters flops for each
unique point. The machine's rate is measured just before and after: the fastest of a square product and of the products
of a hidden layer (forward and weight gradient, of all points at once). All these products are float32 on a CPU and TF32
on a GPU. With `--precision reduced` they are bfloat16 on a CPU with AMX, as they are by default in training. The plain
loop is always float32.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_loop import PlainLoop

from siren_sweep.config.checks import trial_config
from siren_sweep.config.choices import Precision
from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField
from siren_sweep.train.engine import make_engine
from siren_sweep.train.engine.precision import hidden_products, is_reduced
from siren_sweep.train.siren import n_parameters

SIZES = "128x5x8,256x3x8,512x4x8,512x4x64,2048x4x8"
COLUMNS = ("plain_ms", "ours_ms", "ratio", "points_per_s", "gflops", "product_gflops", "share", "peak_mb")
N_FRAMES, N_COLUMNS, N_TYPES = 1000, 217, 8
TURNS, TURN_S, SIZE_S = 50, 0.05, 30  # most turns; least seconds of a side in a turn; most seconds of a size


def main() -> None:
    """Measure every size, print a table, and write the JSON list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--sizes", default=SIZES, help="hidden x layers x frames a batch, comma-separated")
    parser.add_argument("--precision", choices=[*Precision], help="default: float32 on a CPU, reduced on a GPU")
    parser.add_argument("--no-duplicates", action="store_true", help="one neuron at each position, and not eight")
    parser.add_argument("--turns", type=int, default=TURNS, help="most turns of a size, three or more (%(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the list of results")
    options = parser.parse_args()
    precision = Precision(options.precision or ("float32" if options.device == "cpu" else "reduced"))
    torch.set_num_threads(1)
    field = noise_field(1 if options.no_duplicates else N_TYPES)
    print(f"{'hidden x layers x frames':>26}" + "".join(f"{title:>15}" for title in COLUMNS))
    rows = []
    for size in options.sizes.split(","):
        hidden, layers, frames = map(int, size.split("x"))
        row = measure(field, hidden, layers, frames, options.device, precision, options.turns)
        rows.append(row)
        print(f"{size:>26}" + "".join(f"{row[title]:15.4g}" for title in COLUMNS), flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(
    field: StimulusField, hidden: int, layers: int, frames: int, device: str, precision: Precision, n_turns: int
) -> dict[str, Any]:
    """The figures of one size, each the median over the turns."""
    cfg = config_of(hidden, layers, frames, hidden_precision=precision)
    make_engine(field, cfg, device).advance(1)  # loads the code, whose memory must not count
    peak_mb = peak_memory_mb(lambda: make_engine(field, cfg, device).advance(5), device)  # the 4th captures the graph
    plain_s, ours_s, product = interleaved(field, cfg, device, n_turns)
    points = frames * field.n_unique
    gflops = 6 * n_parameters(hidden, layers) * points / ours_s / 1e9
    return {
        "hidden": hidden,
        "layers": layers,
        "frames": frames,
        "plain_ms": float(np.median(plain_s)) * 1e3,
        "ours_ms": float(np.median(ours_s)) * 1e3,
        "ratio": float(np.median(plain_s / ours_s)),
        "share": float(np.median(gflops / product)),
        "peak_mb": peak_mb,
        "points_per_s": points / float(np.median(ours_s)),
        "gflops": float(np.median(gflops)),
        "product_gflops": float(np.median(product)),
        "turns": len(ours_s),
        "neurons": field.n_neurons,
        "positions": field.n_unique,
        "device": device,
        "precision": precision,
        "machine": machine(device),
    }


def config_of(hidden: int, layers: int, frames: int, **training: Any) -> TrialConfig:
    """The config of one size, with so many frames a step; `training` are more settings of its group."""
    model = {"hidden_dim_nnr_f": hidden, "n_layers_nnr_f": layers, "omega_f": 30, "nnr_f_T_period": 300}
    training = {"n_training_frames": N_FRAMES, "inr_batch_size": frames, **training}
    return trial_config({"graph_model": model, "training": training, "claude": {"total_steps": 10**6}})


def interleaved(
    field: StimulusField, cfg: TrialConfig, device: str, n_turns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three arrays (n_turns,): seconds a step of the plain loop, seconds a step of ours, GFLOP/s of matrix products."""
    plain, engine = PlainLoop(field, cfg, device), make_engine(field, cfg, device)
    plain.run(1)
    engine.advance(5)
    turns: list[tuple[float, float, float]] = []
    started = time.perf_counter()
    while len(turns) < 3 or (len(turns) < n_turns and time.perf_counter() - started < SIZE_S):
        plain_s = step_s(plain.run, device)
        before = product_gflops(field, cfg, device)
        ours_s = step_s(engine.advance, device)
        turns.append((plain_s, ours_s, (before + product_gflops(field, cfg, device)) / 2))
    plain_s, ours_s, product = np.array(turns).T
    return plain_s, ours_s, product


def step_s(run: Callable[[int], object], device: str) -> float:
    """Seconds a step, measured over as many steps as take `TURN_S` seconds."""
    n_steps, start = 0, clock(device)
    while (spent := clock(device) - start) < TURN_S:
        run(max(1, n_steps))
        synchronize(device)
        n_steps += max(1, n_steps)
    return spent / n_steps


def product_gflops(field: StimulusField, cfg: TrialConfig, device: str) -> float:
    """GFLOP/s of the fastest matrix product in the config's precision, of the shapes that the module's text names."""
    reduced = is_reduced(cfg.training.hidden_precision, torch.device(device))
    with hidden_products(reduced, torch.device(device)):
        return fastest_gflops(field, cfg, device)


def fastest_gflops(field: StimulusField, cfg: TrialConfig, device: str) -> float:
    """As `product_gflops`, in the precision that PyTorch has now."""
    hidden, points = cfg.graph_model.hidden_dim_nnr_f, cfg.training.inr_batch_size * field.n_unique
    best = 0.0
    large = 1024 if device == "cpu" else 8192  # large enough to use the whole device
    for m, k, n in {(large, large, large), (points, hidden, hidden), (hidden, points, hidden)}:
        left, right = torch.randn(m, k, device=device), torch.randn(k, n, device=device)
        out = torch.empty(m, n, device=device)
        repeats = max(1, int((4e9 if device == "cpu" else 4e12) / (2 * m * k * n)))
        torch.mm(left, right, out=out)
        synchronize(device)
        start = clock(device)
        for _ in range(repeats):
            torch.mm(left, right, out=out)
        synchronize(device)
        best = max(best, 2 * m * k * n * repeats / (clock(device) - start) / 1e9)
    return best


def peak_memory_mb(run: Callable[[], object], device: str) -> float:
    """Peak memory in MB that `run` adds: to the process's resident memory, or to that of PyTorch's GPU allocator."""
    if device != "cpu":
        gc.collect()
        torch.cuda.empty_cache()  # else memory that earlier engines left reserved would be used, and not counted
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_reserved()
        run()
        return (torch.cuda.max_memory_reserved() - before) / 2**20
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else memory that earlier sizes freed would be used, and not counted
    peak, done = [resident_mb()], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            peak.append(resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return max(peak) - peak[0]


def resident_mb() -> float:
    """The resident memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def noise_field(n_types: int) -> StimulusField:
    """A field of uniform noise at the lattice's 217 positions, with `n_types` neurons at each."""
    axis = np.arange(-8, 9)
    u, v = (part.ravel() for part in np.meshgrid(axis, axis))
    inside = np.abs(u + v) <= 8
    positions = np.stack([u + v / 2, v * np.sqrt(3) / 2], axis=1)[inside].astype(np.float32)
    targets = np.random.default_rng(0).random((N_FRAMES, N_COLUMNS), dtype=np.float32)
    return StimulusField(
        positions=positions,
        multiplicity=np.full(N_COLUMNS, n_types),
        inverse=np.tile(np.arange(N_COLUMNS), n_types),
        targets=targets,
        ss_within=0.0,
        total=n_types * float(targets.sum(dtype=np.float64)),
        total_sq=n_types * float(np.square(targets, dtype=np.float64).sum()),
        sst=n_types * float(targets.var(dtype=np.float64) * targets.size),
        rank_90=1,
        rank_99=1,
        data_hash="noise",
    )


def clock(device: str) -> float:
    """Seconds: this thread's CPU time, or wall time for a GPU."""
    return time.thread_time() if device == "cpu" else time.perf_counter()


def synchronize(device: str) -> None:
    """Wait for the GPU, where there is one."""
    if device != "cpu":
        torch.cuda.synchronize()


def machine(device: str) -> dict[str, Any]:
    """The kind of machine, and the versions that matter."""
    if device == "cpu":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    else:
        name = torch.cuda.get_device_name()
    simd = torch.backends.cpu.get_cpu_capability()
    return {"processor": name, "simd": simd, "threads": torch.get_num_threads(), "torch": torch.__version__}


if __name__ == "__main__":
    main()
