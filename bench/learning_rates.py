"""Measures how much R2 is lost by a learning rate that is not the best one, with and without a limit of the update.

    python bench/learning_rates.py PATH --json FILE

It trains networks of 64, 96 and 128 units: in six windows of 125 frames, which are spread over the field's frames, and
one network over the first 1000 frames. `plain` is Adam with usual settings: a cosine schedule from the first step on,
beta2 0.999, no limit. `limited` is the default: a linear rise over the first tenth of the steps, beta2 0.95, and
`training.turn_limit`. R2 is exact over the frames of the windows, or of the network.
"""

from __future__ import annotations

from typing import Any

from common import arguments, config, opened, write

from siren_sweep.field import StimulusField
from siren_sweep.train.loop import train
from siren_sweep.train.report import Status

RATES = (1.75e-4, 3.5e-4, 7e-4, 1.4e-3, 2.8e-3)
CASES: list[dict[str, Any]] = [
    {"frames": 64_000, "window": 125, "hidden": 64, "layers": 3, "steps": 1000},
    {"frames": 64_000, "window": 125, "hidden": 96, "layers": 3, "steps": 1000},
    {"frames": 64_000, "window": 125, "hidden": 128, "layers": 3, "steps": 1000},
    {"frames": 1000, "window": 0, "hidden": 64, "layers": 4, "steps": 3000},
    {"frames": 1000, "window": 0, "hidden": 96, "layers": 4, "steps": 3000},
    {"frames": 1000, "window": 0, "hidden": 128, "layers": 4, "steps": 3000},
]
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {"lr_schedule": "cosine", "adam_beta2": 0.999, "turn_limit": 0.0},
    "limited": {},
}
N_WINDOWS = 6
BUDGET_MIN = 6000  # a time limit that no run reaches, however busy the machine is


def main() -> None:
    """Run every case at every learning rate, print and write a row for each case and recipe."""
    options = arguments(__doc__, ", of 64,000 frames")
    fields = {frames: opened(options.path, frames) for frames in sorted({case["frames"] for case in CASES})}
    print(f"{'':28}" + "".join(f"{rate:>10.2g}" for rate in RATES) + "   lost at half, at twice the best")
    rows = []
    for case in CASES:
        for name, recipe in RECIPES.items():
            r2 = [r2_of(fields[case["frames"]], case, recipe, rate) for rate in RATES]
            best = max(range(1, len(RATES) - 1), key=lambda place: r2[place])
            lost = [r2[best] - r2[best + step] for step in (-1, 1)]
            rows.append({**case, "recipe": name, "rates": RATES, "r2": r2, "best": RATES[best], "lost": lost})
            where = f"{case['window'] or case['frames']} frames {case['hidden']} x {case['layers']} {name}"
            print(f"{where:28}" + "".join(f"{one:10.4f}" for one in r2) + f"   {lost[0]:.4f} {lost[1]:.4f}", flush=True)
            write(rows, options.json)


def r2_of(field: StimulusField, case: dict[str, Any], recipe: dict[str, Any], rate: float) -> float:
    """The R2 of one run; 0, that of a constant prediction, where it diverged."""
    cfg = config(
        (case["hidden"], case["layers"]),
        omega=30,
        t_period=(case["window"] or case["frames"]) / 3,
        frames=case["frames"],
        rate=rate,
        steps=case["steps"],
        window=case["window"],
        minutes=BUDGET_MIN,
        **recipe,
    )
    result = train(field, cfg, n_windows=N_WINDOWS)
    assert result.status is not Status.infeasible, "the run reached its time limit, which is no divergence"
    return (result.sample.r2 if result.sample else result.final_r2) or 0.0


if __name__ == "__main__":
    main()
