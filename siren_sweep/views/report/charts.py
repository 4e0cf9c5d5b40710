"""Charts over the trials: R2 by block, learning curves, parameter importances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from optuna.trial import TrialState

from siren_sweep.config.parameters import leaf
from siren_sweep.study.records import Trial
from siren_sweep.views.grades import EXCELLENT
from siren_sweep.views.report.figures import ACCENT, BAD, INK, MUTED, PAPER, SOFT, inline_svg, single_axes, styled
from siren_sweep.views.report.markup import Markup
from siren_sweep.views.report.scale import height, heights, r2_axis, shown_r2
from siren_sweep.views.report.view import ReportedBlock, curve_of


def r2_by_block(blocks: Sequence[ReportedBlock]) -> Markup:
    """Every trial's R2, blocks side by side, trials from left to right in their order."""
    with styled():
        figure, axes = single_axes(6.0, 4.0)
        for place, block in enumerate(blocks):
            _block_column(axes, place, block)
        values = [value for block in blocks for trial in block.trials if (value := trial.finite_value) is not None]
        r2_axis(axes, values)
        _line_at_excellent(axes)
        axes.set_xticks(range(len(blocks)), [f"{block.number}\n{block.n_frames}" for block in blocks])
        axes.set_xlabel("block, and its training frames")
        axes.set_xlim(-0.65, len(blocks) - 0.4)
        axes.tick_params(axis="x", length=0)
        _legend(axes)
        return inline_svg(figure, "r2-by-block", "R squared of every trial, by block: " + "; ".join(map(_told, blocks)))


def _block_column(axes: Axes, place: int, block: ReportedBlock) -> None:
    n_gaps = max(len(block.trials) - 1, 1)
    at = {trial.number: place - 0.36 + 0.66 * index / n_gaps for index, trial in enumerate(block.trials)}
    for state, marker, shade, label in (
        (TrialState.COMPLETE, "o", SOFT, "finished"),
        (TrialState.PRUNED, "x", MUTED, "pruned"),
    ):
        shown = [trial for trial in block.trials if trial.state is state and trial.finite_value is not None]
        y = heights(trial.finite_value or 0.0 for trial in shown)
        axes.scatter([at[trial.number] for trial in shown], y, marker=marker, s=34, color=shade, label=label, zorder=3)
    failed = [at[trial.number] for trial in block.trials if trial.state is TrialState.FAIL]
    if failed:
        bottom = axes.get_xaxis_transform()
        axes.scatter(failed, [0.02] * len(failed), marker="|", s=60, color=BAD, label="failed", transform=bottom)
    if block.best is None:
        return
    value = block.best.value or 0.0
    axes.scatter(at[block.best.number], height(value), s=60, color=ACCENT, label="best", zorder=5)
    axes.annotate(
        shown_r2(value),
        (at[block.best.number], height(value)),
        (0, 9),
        textcoords="offset points",
        ha="center",
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},
        zorder=4,
    )
    seeds = [r2 for trial in block.validation if (r2 := trial.finite_value) is not None]
    if seeds:
        axes.scatter(
            [place + 0.4] * len(seeds),
            heights(seeds),
            marker="D",
            s=30,
            facecolor=PAPER,
            edgecolor=ACCENT,
            label="other seeds",
            zorder=4,
        )


def learning_curves(block: ReportedBlock) -> Markup:
    """R2 of each trial of a block at its reports; ends of pruned and failed trials are marked."""
    with styled():
        figure, axes = single_axes(6.0, 3.7)
        for trial in sorted(block.trials, key=lambda trial: trial is block.best):
            _curve(axes, trial, trial is block.best)
        r2_axis(axes, [r2 for trial in block.trials for _, r2 in curve_of(trial)])
        _line_at_excellent(axes)
        axes.set_xlabel("training step")
        axes.set_xlim(left=0)
        axes.margins(x=0.04)
        _legend(axes)
        return inline_svg(figure, f"curves-{block.number}", f"Learning curves of block {block.number}. {_told(block)}")


def _curve(axes: Axes, trial: Trial, best: bool) -> None:
    points = curve_of(trial)
    if not points:
        return
    steps, y = [step for step, _ in points], heights(r2 for _, r2 in points)
    names = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    label = "best" if best else names.get(trial.state, "running")
    shade = {"best": ACCENT, "finished": SOFT, "pruned": MUTED, "failed": BAD, "running": INK}[label]
    end = {"pruned": "x", "failed": "X", "running": ">"}.get(label, "")
    axes.plot(
        steps,
        y,
        color=shade,
        linewidth=2.2 if best else 1.2,
        linestyle=":" if label == "running" else "-",
        marker=end,
        markevery=[-1],
        markersize=6,
        label=label,
        zorder=4 if best else 2,
    )


def importances(shares: Mapping[str, float]) -> Markup:
    """Horizontal bars, the greatest on top."""
    ordered = sorted(shares.items(), key=lambda item: item[1])
    with styled():
        figure, axes = single_axes(6.0, 0.8 + 0.32 * len(ordered))
        axes.grid(visible=False)
        places = range(len(ordered))
        axes.barh(places, [share for _, share in ordered], color=ACCENT, height=0.62)
        for place, (_, share) in zip(places, ordered, strict=True):
            axes.annotate(f"{share:.2f}", (share, place), (4, 0), textcoords="offset points", va="center")
        axes.set_yticks(places, [leaf(name) for name, _ in ordered])
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 1.12 * max(shares.values()))
        axes.set_xlabel("share of the variance explained")
        told = ", ".join(f"{name.rpartition('.')[2]} {share:.2f}" for name, share in reversed(ordered))
        return inline_svg(figure, "importances", f"Parameter importances: {told}")


def _line_at_excellent(axes: Axes) -> None:
    axes.axhline(height(EXCELLENT), color=BAD, linewidth=1, linestyle=(0, (5, 3)))
    axes.annotate(
        "0.95",
        (1, height(EXCELLENT)),
        (-2, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        color=BAD,
    )


def _legend(axes: Axes) -> None:
    """Above the axes, one entry a label."""
    entries = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    order = ("best", "other seeds", "finished", "pruned", "failed", "running")
    kept = [label for label in order if label in entries]
    axes.legend(
        [entries[label] for label in kept],
        kept,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=5,
        handletextpad=0.4,
    )


def _told(block: ReportedBlock) -> str:
    best = "none finished"
    if block.best:
        shown = f"{shown_r2(block.best.value or 0.0)} {block.best.part}".strip()
        best = f"best {shown} (trial {block.best.number})"
    return f"block {block.number}, {block.n_frames} frames: {len(block.trials)} trials, {best}"
