"""How the record writes things: one line each, whatever stands in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from siren_sweep.config.parameters import PARAMETERS, XY_PERIOD, leaf
from siren_sweep.search.proposal import shown
from siren_sweep.study.log_format import CONFIG, IMPORTED, OLD_R2
from siren_sweep.text import one_line
from siren_sweep.views.blocks import BlockView, Stage, TrialView
from siren_sweep.views.record.verdicts import changed

METRICS = ("final_r2", "final_mse", "training_time_min", "total_params", "rank_90", "rank_99")
ROOT = "root"


def cell(text: Any) -> str:
    """Text that keeps a Markdown table whole."""
    return one_line(text).replace("\\", "\\\\").replace("|", "\\|")


def number(value: Any, digits: int = 6) -> str:
    """A number, `nan` where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "nan"
    return str(value) if isinstance(value, int) else f"{value:.{digits}g}"


def r2(value: float | None) -> str:
    """An R2 for reading: more digits where it is so near to 1 that six would say 1."""
    return number(value, 6 if value is None or abs(1 - value) > 1e-5 else 14)


def kind_of_r2(trial: TrialView) -> str:
    """What the R2 of a trial is called: that of an imported log is another measure."""
    return OLD_R2 if trial.plan.strategy == IMPORTED else "R2"


def config_line(trial: TrialView) -> str:
    """`hidden_dim=64, n_layers=4, ...`."""
    pairs = [f"{short}={number(trial.config[name])}" for short, name in CONFIG.items()]
    told = {*CONFIG.values(), XY_PERIOD}  # which the format has, and which stands in the observation
    more = [one for one in PARAMETERS.values() if one.name not in told and trial.config[one.name] != one.default]
    pairs += [f"n_frames={trial.plan.n_training_frames}"]
    return ", ".join([*pairs, *(f"{one.short}={number(trial.config[one.name])}" for one in more)])


def origin(block: BlockView, trial: TrialView) -> str:
    """Where a trial's results come from: `siren_sweep 0.1.0; commit ...; data_hash ...`. Empty where nothing says what
    ran it."""
    if trial.outcome is None or not trial.outcome.provenance:
        return ""
    own = {**trial.outcome.provenance, "data_hash": block.block.data_hash, "command": block.block.command}
    return "; ".join(f"{name} {one_line(value)}" for name, value in own.items() if value)


def metrics_line(trial: TrialView) -> str:
    """`final_r2=0.98, ...`; nan for what a stopped or failed trial has not.

    What is over some of the windows has a name of its own: `sample_r2=0.98, ..., sample_windows=16, n_windows=512`.
    """
    names = [name.replace("final_", "sample_") for name in METRICS] if trial.part else list(METRICS)
    names += ["sample_windows", "n_windows"] if trial.part else []
    values: Mapping[str, Any] = {**trial.metrics, names[0]: trial.final}
    return ", ".join(f"{name}={number(values.get(name), 12 if name == names[0] else 6)}" for name in names)


def mutation(trial: TrialView, parent: TrialView | None) -> str:
    """`omega_f: 80 -> 160`, by the absolute values; what the trial says of itself where its parent is not known."""
    if parent is None:
        return one_line(trial.plan.mutation) or "none"
    changes = (
        f"{leaf(name)}: {shown(parent.config[name])} -> {shown(trial.config[name])}" for name in changed(parent, trial)
    )
    return ", ".join(changes) or "none"


def parent_name(parent: TrialView | None) -> str:
    """The iteration by which a parent is named."""
    return str(parent.plan.iteration) if parent is not None else ROOT


def hypothesis(trial: TrialView, parent: TrialView | None) -> str:
    """What the trial was to show, in one sentence."""
    if parent is None:
        return "none; a start of its own, for others to be compared with"
    return f"{mutation(trial, parent)} improves final_r2 over iteration {parent.plan.iteration}"


def rationale(trial: TrialView) -> str:
    """Why the hypothesis was stated, empty where nobody said."""
    return one_line(trial.plan.hypothesis.rationale if trial.plan.hypothesis else "")


def result(trial: TrialView) -> str:
    """How a trial ended, without any `key=value` that a reader of the log could take for a metric."""
    if trial.stage is Stage.open:
        return "not finished"
    if trial.stage is Stage.failed:
        return f"failed: {one_line(trial.reason or 'no reason was left')}"
    if trial.stage.stopped:
        return one_line(trial.reason or "stopped") + (", and may go on" if trial.stage is Stage.paused else "")
    part = f" {trial.part}" if trial.part else ""
    return f"{kind_of_r2(trial)} {r2(trial.final)}{part}" + (f" ({one_line(trial.reason)})" if trial.reason else "")
