"""Table and picture of `job.py`, made from its result files: `PYTHONPATH=bench python bench/job/report.py OUT`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogFormatter

from siren_sweep.paths import replacing
from siren_sweep.train.report import shown_r2

MARKS = (0.95, 0.99, 0.999)
LOWEST_LOSS = 1e-6  # smallest 1 - R2 in the picture
MEANING = """\
Seconds run from the typed command until somebody could see the R2: at one of the 20 reports of a network of the whole
field, or exactly, at a run's end. Times are medians over the seeds. "Best on disk" is over all frames and neurons, of
weights that were loaded again after the end. All search the same space from the same first config, with the same
reports, on all cores; windows, where the space has them, are siren_sweep's alone. Optuna's default sampler is TPE; its
processes have a thread each, learn values of mean 0 and standard deviation 1, and stop at `claude.solved_r2`.
flyvis-gnn's trainer searches nothing: its defaults, T_period at the frames, are trained once on all cores."""
SIDES = {  # name and colour of each side, in the order of the table
    "ours": ("siren_sweep", "#c0392b"),
    "ours_one_network": ("siren_sweep, one network", "#e59866"),
    "stock": ("Optuna, Hyperband, plain loop", "#2980b9"),
    "stock_median": ("Optuna, median pruner, plain loop", "#16a085"),
    "stock_compiled": ("Optuna, Hyperband, torch.compile", "#8e44ad"),
    "flyvis_defaults": ("flyvis-gnn's trainer at its defaults", "#7f8c8d"),
}
Result = dict[str, Any]
Groups = dict[int, dict[str, list[Result]]]  # the results of all seeds, by number of frames and side


def write(out: Path) -> str:
    """Write `job.md`, `job.png` and `job.svg` into the folder `out`; returns the table."""
    groups = grouped([json.loads(file.read_text()) for file in sorted((out / "cells").glob("*.json"))])
    text = table(groups)
    with replacing(out / "job.md") as file:
        file.write_text(text)
    picture(groups, out)
    return text


def grouped(results: list[Result]) -> Groups:
    """The results by number of frames and side, in the order of the table."""
    groups: Groups = {}
    for result in sorted(results, key=lambda one: (one["task"]["n_frames"], [*SIDES].index(one["side"]))):
        groups.setdefault(result["task"]["n_frames"], {}).setdefault(result["side"], []).append(result)
    return groups


def reached_s(result: Result, mark: float) -> float:
    """Seconds until an R2 of `mark` was seen; infinite where it was not."""
    return next((at for at, r2 in result["seen"] if r2 >= mark), math.inf)


def table(groups: Groups) -> str:
    """The text of the table, with a row for each number of frames and side, and medians over the seeds.

    Lines below it say which marks only some sides reach.
    """
    head = ["frames", "side", "seeds", *(f"R2 {mark:g} after" for mark in MARKS), "ended after", "best on disk", "left"]
    rows = [head, ["---"] * len(head)]
    for frames, sides in groups.items():
        rows += [[f"{frames:,}", *_row(side, own, sides.get("ours", []))] for side, own in sides.items()]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *_only(groups), MEANING, "", _where(groups), ""])


def _row(side: str, own: list[Result], ours: list[Result]) -> list[str]:
    best = [result["best_on_disk"] for result in own if result["best_on_disk"] is not None]
    took = [min(result["took_s"], result["limit_s"]) for result in own]
    stopped = sum(result["at_limit"] for result in own)
    ended = _minutes(median(took)) + (f" (limit, {stopped} of {len(own)})" if stopped else "")
    kept = shown_r2(median(best)) if best else "nothing"
    last = own[-1]["left"]
    left = f"{', '.join(last['kinds']) or 'nothing'}: {last['n_files']} files, {last['mb']:.0f} MB"
    marks = [_reached(own, ours if side != "ours" else [], mark) for mark in MARKS]
    return [SIDES[side][0], str(len(own)), *marks, ended, kept, left]


def _reached(own: list[Result], ours: list[Result], mark: float) -> str:
    """The median time of a mark, such as `308 s (11 times ours)`; half of the seeds must reach it."""
    times = [reached_s(result, mark) for result in own]
    middle = median(times)
    n_reached = sum(math.isfinite(time) for time in times)
    if not math.isfinite(middle):
        return "not reached" + (f" ({n_reached} of {len(own)} seeds)" if n_reached else "")
    text = f"{middle:.0f} s" + (f" ({n_reached} of {len(own)} seeds)" if n_reached < len(own) else "")
    base = median([reached_s(result, mark) for result in ours]) if ours else math.inf
    return text + (f" ({middle / base:.2g} times ours)" if math.isfinite(base) else "")


def _only(groups: Groups) -> list[str]:
    """A line for each mark that some sides reach, but not all."""
    lines = []
    for frames, sides in groups.items():
        for mark in MARKS:
            reached = {side: median([reached_s(one, mark) for one in own]) for side, own in sides.items()}
            those = [side for side, seconds in reached.items() if math.isfinite(seconds)]
            if 0 < len(those) < len(sides):
                names = ", ".join(SIDES[side][0] for side in those)
                lines.append(f"- {frames:,} frames: R2 {mark:g} is reached within the limits by {names} alone.")
    return [*lines, ""] if lines else []


def picture(groups: Groups, out: Path) -> None:
    """Draw 1 - R2 of the best so far over time, with a panel for each number of frames and a line for each seed."""
    n = max(1, len(groups))
    figure, axes = plt.subplots(1, n, figsize=(5.2 * n, 4.2), layout="constrained", squeeze=False)
    for axis, (frames, sides) in zip(axes[0], groups.items(), strict=False):
        for side, own in sides.items():
            name, colour = SIDES[side]
            for index, result in enumerate(own):
                label = "" if index else name
                axis.step(*_line(result), where="post", color=colour, linewidth=1.6, alpha=0.75, label=label)
        for mark in MARKS:
            axis.axhline(1 - mark, color="#bbbbbb", linewidth=0.8, zorder=0)
            where = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom", "fontsize": 8}
            axis.annotate(f"R2 {mark:g}", (0.995, 1 - mark), **where)
        axis.set(xscale="log", yscale="log", xlabel="seconds after the command was typed", title=f"{frames:,} frames")
        axis.xaxis.set_major_formatter(LogFormatter())
        axis.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
        axis.set_ylim(top=1.5)
        axis.invert_yaxis()
        axis.legend(fontsize=8, loc="best")
    axes[0][0].set_ylabel("1 - R2 of the best that was seen")
    for ending in (".png", ".svg"):
        with replacing(out / f"job{ending}") as file:
            figure.savefig(file, dpi=120, format=ending[1:])
    plt.close(figure)


def _line(result: Result) -> tuple[list[float], list[float]]:
    """x and y of one seed's line, which goes on to the end of its run."""
    points = result["seen"]
    end = min(result["took_s"], result["limit_s"])
    losses = [max(LOWEST_LOSS, 1 - r2) for _, r2 in points]
    return [at for at, _ in points] + [end], losses + (losses[-1:] or [math.nan])


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _where(groups: Groups) -> str:
    """A sentence on the machine and the version of the code."""
    machines = [result["machine"] for sides in groups.values() for own in sides.values() for result in own]
    names = sorted({f"{machine['cpu']}, {machine['n_cores']} cores" for machine in machines})
    busiest = max((machine["load_before"] for machine in machines), default=0.0)
    commits = sorted({machine["commit"][:12] + machine["commit"][40:] for machine in machines})
    return f"Machine: {'; '.join(names)}; load before a cell at most {busiest:.1f}. Code: {', '.join(commits)}."


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
