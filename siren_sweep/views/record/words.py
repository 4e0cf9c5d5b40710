"""The texts of the record: configs, metrics, mutations, hypotheses and results, each on one line."""

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
    """A value as text for a cell of a Markdown table."""
    return one_line(text).replace("\\", "\\\\").replace("|", "\\|")


def number(value: Any, digits: int = 6) -> str:
    """A number as text; `nan` where the value is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "nan"
    return str(value) if isinstance(value, int) else f"{value:.{digits}g}"


def r2(value: float | None) -> str:
    """An R2 as text, with more digits where it is so near to 1 that six digits would show 1."""
    return number(value, 6 if value is None or abs(1 - value) > 1e-5 else 14)


def kind_of_r2(trial: TrialView) -> str:
    """The name of a trial's R2. An imported log has another measure."""
    return OLD_R2 if trial.plan.strategy == IMPORTED else "R2"


def config_line(trial: TrialView) -> str:
    """`hidden_dim=64, n_layers=4, ...`."""
    pairs = [f"{short}={number(trial.config[name])}" for short, name in CONFIG.items()]
    told = {*CONFIG.values(), XY_PERIOD}  # those of the format, and one that the observation has
    more = [one for one in PARAMETERS.values() if one.name not in told and trial.config[one.name] != one.default]
    pairs += [f"n_frames={trial.plan.n_training_frames}"]
    return ", ".join([*pairs, *(f"{one.short}={number(trial.config[one.name])}" for one in more)])


def origin(block: BlockView, trial: TrialView) -> str:
    """A trial's provenance: `siren_sweep 0.1.0; commit ...; data_hash ...`. Empty where it is not known."""
    if trial.outcome is None or not trial.outcome.provenance:
        return ""
    own = {**trial.outcome.provenance, "data_hash": block.block.data_hash, "command": block.block.command}
    return "; ".join(f"{name} {one_line(value)}" for name, value in own.items() if value)


def metrics_line(trial: TrialView) -> str:
    """`final_r2=0.98, ...`, with nan for metrics that a stopped or failed trial does not have.

    Metrics over a sample of the windows have other names: `sample_r2=0.98, ..., sample_windows=16, n_windows=512`.
    """
    names = [name.replace("final_", "sample_") for name in METRICS] if trial.part else list(METRICS)
    names += ["sample_windows", "n_windows"] if trial.part else []
    values: Mapping[str, Any] = {**trial.metrics, names[0]: trial.final}
    return ", ".join(f"{name}={number(values.get(name), 12 if name == names[0] else 6)}" for name in names)


def mutation(trial: TrialView, parent: TrialView | None) -> str:
    """`omega_f: 80 -> 160`, with absolute values. Without a parent it is the mutation that the trial's plan has."""
    if parent is None:
        return one_line(trial.plan.mutation) or "none"
    changes = (
        f"{leaf(name)}: {shown(parent.config[name])} -> {shown(trial.config[name])}" for name in changed(parent, trial)
    )
    return ", ".join(changes) or "none"


def parent_name(parent: TrialView | None) -> str:
    """The parent's iteration, or `root`."""
    return str(parent.plan.iteration) if parent is not None else ROOT


def hypothesis(trial: TrialView, parent: TrialView | None) -> str:
    """The trial's hypothesis, in one sentence."""
    if parent is None:
        return "none; a start of its own, for others to be compared with"
    return f"{mutation(trial, parent)} improves final_r2 over iteration {parent.plan.iteration}"


def rationale(trial: TrialView) -> str:
    """The reason that was given for the hypothesis; empty where none was given."""
    return one_line(trial.plan.hypothesis.rationale if trial.plan.hypothesis else "")


def result(trial: TrialView) -> str:
    """How a trial ended. The text has no `key=value`, which a program that reads the log would take for a metric."""
    if trial.stage is Stage.open:
        return "not finished"
    if trial.stage is Stage.failed:
        return f"failed: {one_line(trial.reason or 'no reason was left')}"
    if trial.stage.stopped:
        return one_line(trial.reason or "stopped") + (", and may go on" if trial.may_go_on else "")
    part = f" {trial.part}" if trial.part else ""
    return f"{kind_of_r2(trial)} {r2(trial.final)}{part}" + (f" ({one_line(trial.reason)})" if trial.reason else "")
