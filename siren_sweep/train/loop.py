"""One training run: its steps, twenty reports, the best weights, and their exact metrics.

    result = train(field, cfg, on_report=lambda report: None)
    result.final_r2, result.state_dict

At 20 equal fractions of the steps the weights are evaluated, a report is made, and the best weights are kept. With
`training.stop_when_solved` a run ends at the first report at which it is solved. The clock changes nothing but a run's
end: a run that is forecast to exceed its time budget ends early, and one that exceeds it is truncated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from siren_sweep.config.schema import N_REPORTS, TrialConfig
from siren_sweep.field import StimulusField, cut, frames_of, spread
from siren_sweep.train.engine import checkpoint as checkpoints
from siren_sweep.train.engine import learning_rate, make_engine
from siren_sweep.train.engine.evaluate import evaluate, evaluate_windows, report_frames
from siren_sweep.train.fit import Fit
from siren_sweep.train.machine import n_cores, n_threads
from siren_sweep.train.metrics import Metrics, Moments, pooled, r2_standard_error
from siren_sweep.train.report import Report, Sample, Status, TrainResult
from siren_sweep.train.siren import n_parameters

CALL_S = 0.1  # the engine runs about so long between two looks at the clock
WARM_UP_S = 2.0  # of training, before a run's whole time is forecast


def train(
    field: StimulusField,
    cfg: TrialConfig,
    *,
    device: str = "cpu",
    on_report: Callable[[Report], str | None] | None = None,
    on_step: Callable[[int], None] | None = None,
    on_resume: Callable[[Sequence[Report]], None] | None = None,
    checkpoint: Path | None = None,
    n_windows: int = 0,
) -> TrainResult:
    """Train the networks of `cfg` on `field`. It goes on from `checkpoint` where that is a file of the same run.

    `device` is "cpu" or "cuda:N". Where `cfg` has more than `n_windows` windows, only so many of them, evenly spread,
    are trained; 0: all. The time budget is compared with the time that all windows would take.

    `on_report` gets each report, and returns a reason to stop, or None. `on_step` gets the step's number about ten
    times a second; where it raises, the checkpoint is written, and the error is raised again. `on_resume` gets the
    reports of the checkpoint from which the run goes on. The caller deletes the checkpoint by `checkpoint.discard` once
    it has stored the result.
    """
    run = _Run(field, cfg, device, checkpoint, n_windows)
    if run.reports and on_resume:
        on_resume(run.reports)
    status, reason = run.go(on_report or (lambda report: None), on_step or (lambda step: None))
    return run.result(status, reason)


_Ending = tuple[Status, str | None]


class _Run:
    """The state of one call of `train`."""

    def __init__(self, field: StimulusField, cfg: TrialConfig, device: str, file: Path | None, n_windows: int) -> None:
        self._field, self._cfg, self._file = field, cfg, file
        every = cut(field.n_frames, cfg.graph_model.window_frames)
        self._windows, self._n_windows = spread(every, n_windows), len(every)
        self._engine = make_engine(field, cfg, device, self._windows)
        self._frames = report_frames(self._windows, cfg)
        kind = f"{type(self._engine).__name__} {self._engine.device.type}"  # not the GPU's number: any GPU may go on
        self._identity = checkpoints.fingerprint(cfg, field.data_hash, kind, len(self._windows))
        self.reports: list[Report] = []
        self._stopped = False  # by `on_report`, at the last report
        self._best_r2 = -math.inf
        self._best_index: int | None = None
        self._best_weights = self._engine.weights()
        self._foreseen_min: float | None = None
        self._started = self._saved = monotonic()
        self._warm_from: float | None = None  # time of the end of the first call, which may compile
        self._step_s = math.inf  # seconds a step in the fastest call; slower ones may be due to other work
        self._calls = 0.0, 0  # seconds in the engine and steps since the last report
        if file is not None and (state := checkpoints.load(file, self._identity)):
            self._restore(state)

    def go(self, on_report: Callable[[Report], str | None], on_step: Callable[[int], None]) -> _Ending:
        """Train to the end, or until there is a reason to stop; returns how it ended, and the reason."""
        total = self._cfg.claude.total_steps
        if self._stopped and (reason := on_report(self.reports[-1])):  # it may not be stored yet
            return Status.stopped, reason
        for index in range(len(self.reports) + 1, N_REPORTS + 1):
            if ending := self._advance(index * total // N_REPORTS, on_step):
                return ending
            metrics = self._look(index)
            if not math.isfinite(metrics.r2):
                return Status.diverged, f"R2 at step {self._engine.step} is {metrics.r2}"
            report = self._report(index, metrics)
            if report.solved:  # over all frames; earlier weights may have been better on the report's frames alone
                self._keep(index, metrics)
            self.reports.append(report)
            try:
                reason = on_report(report)
            except BaseException:  # such as a signal; when the run goes on, it makes this report again
                self.reports.pop()
                self._save()
                raise
            if report.solved and index < N_REPORTS:
                return Status.finished, f"solved at step {self._engine.step} of {total}"
            if reason:
                return Status.stopped, reason
        return Status.finished, None

    def result(self, status: Status, reason: str | None) -> TrainResult:
        """The result, with the best weights and, where the run was finished or truncated, their exact metrics."""
        final: Metrics | None = None
        sample: Sample | None = None
        jump: float | None = None
        if status == Status.truncated:
            self._look(None)
        self._stopped = status == Status.stopped
        if status in (Status.truncated, Status.stopped):
            self._save()  # so that it can go on
        if status in (Status.finished, Status.truncated):
            self._engine.load_weights(self._best_weights)
            parts = evaluate_windows(self._engine, self._field)
            if len(parts) < self._n_windows:
                sample = self._sample(parts)
            else:
                final = pooled(parts)
                fit = Fit(self._cfg, self._best_weights, self._field.scaling)
                jump = fit.border_jump(self._field.targets, self._field.positions)
        model = self._cfg.graph_model
        return TrainResult(
            status=status,
            reason=reason,
            final_r2=final.r2 if final else None,
            final_mse=final.mse if final else None,
            final_pearson_r2=final.pearson_r2 if final else None,
            best_index=self._best_index,
            stop_step=self._engine.step,
            training_time_min=self._elapsed_s / 60,
            total_params=self._n_windows * n_parameters(model.hidden_dim_nnr_f, model.n_layers_nnr_f),
            foreseen_min=self._foreseen_min,
            sample=sample,
            border_jump=jump,
            reports=self.reports,
            state_dict=self._best_weights,
        )

    def _sample(self, parts: Sequence[Moments]) -> Sample:
        return Sample(
            **vars(pooled(parts, self._expected_sst)),
            n_trained=len(parts),
            n_windows=self._n_windows,
            r2_se=r2_standard_error(parts, self._n_windows),
            whole_time_min=self._elapsed_s / 60 * self._whole_factor,
        )

    @property
    def _expected_sst(self) -> float:
        """The windows' share of the field's total sum of squares, in proportion to their frames."""
        return self._field.sst * len(frames_of(self._windows)) / self._field.n_frames

    @property
    def _whole_factor(self) -> float:
        """The time of a run of all windows over that of this run. A run of all windows has all cores of the machine."""
        own, every = len(self._windows), self._n_windows
        if own == every:
            return 1.0
        if self._engine.device.type != "cpu":
            return every / own
        here, there = min(n_threads(self._cfg), own), min(n_cores(), every)  # processes, each with its windows in turn
        return math.ceil(every / there) / math.ceil(own / here)

    def _advance(self, last_step: int, on_step: Callable[[int], None]) -> _Ending | None:
        """Run the engine up to `last_step`. Returns the run's ending where it does not get there, else None."""
        size = 1
        while self._engine.step < last_step:
            before, n_steps = monotonic(), min(size, last_step - self._engine.step)
            exploded = self._engine.advance(n_steps)
            took = monotonic() - before
            self._calls = self._calls[0] + took, self._calls[1] + n_steps
            self._step_s = min(self._step_s, took / n_steps)
            if exploded is not None:
                return Status.diverged, f"the loss at step {exploded} is no number or has exploded"
            try:
                on_step(self._engine.step)
            except BaseException:  # the engine is between two steps, so its state is consistent
                self._save()
                raise
            if ending := self._out_of_time():
                return ending
            if self._file is not None and monotonic() - self._saved > self._cfg.training.checkpoint_every_s:
                self._save()
            size = max(1, min(2 * size, int(n_steps * CALL_S / max(took, 1e-6))))
        return None

    def _out_of_time(self) -> _Ending | None:
        budget_min, step = self._cfg.claude.time_budget_min, self._engine.step
        if self._warm_from is None:
            self._warm_from = monotonic()
        elif self._foreseen_min is None and monotonic() - self._warm_from >= WARM_UP_S:
            self._foreseen_min = self._foresee()
            if self._foreseen_min > budget_min:
                needs = f"it would take {self._foreseen_min:.1f} minutes"
                return Status.infeasible, f"{needs}, and claude.time_budget_min is {budget_min:g}"
        if self._elapsed_s > budget_min * 60:
            text = f"truncated: claude.time_budget_min ({budget_min:g}) was over at step {step}"
            return Status.truncated, f"{text} of {self._cfg.claude.total_steps}"
        return None

    def _foresee(self) -> float:
        """A forecast of the whole run's minutes. Evaluating a point costs about a third of training on it."""
        cfg = self._cfg
        trained = cfg.claude.total_steps - self._engine.step
        evaluated = (N_REPORTS - len(self.reports)) * len(self._frames) + len(frames_of(self._windows))
        step_frames = cfg.training.inr_batch_size * len(self._windows)
        seconds = self._elapsed_s + self._step_s * (trained + evaluated / (3 * step_frames))
        return seconds / 60 * self._whole_factor

    def _look(self, index: int | None) -> Metrics:
        """Evaluate the present weights on the reports' frames, and keep them where they are the best so far."""
        metrics = evaluate(self._engine, self._field, self._frames)
        if metrics.r2 > self._best_r2:
            self._keep(index, metrics)
        return metrics

    def _keep(self, index: int | None, metrics: Metrics) -> None:
        self._best_r2, self._best_index, self._best_weights = metrics.r2, index, self._engine.weights()

    def _solved(self, metrics: Metrics) -> bool:
        """Whether the present weights reach `claude.solved_r2`, on the report's frames and on all of the windows'."""
        goal = self._cfg.claude.solved_r2
        if not self._cfg.training.stop_when_solved or goal is None or metrics.r2 < goal:
            return False
        return pooled(evaluate_windows(self._engine, self._field), self._expected_sst).r2 >= goal

    def _report(self, index: int, metrics: Metrics) -> Report:
        seconds, steps = self._calls
        self._calls = 0.0, 0
        return Report(
            index=index,
            fraction=index / N_REPORTS,
            step=self._engine.step,
            r2=metrics.r2,
            mse=metrics.mse,
            learning_rate=learning_rate(self._cfg, self._engine.step - 1),
            steps_per_s=steps / max(seconds, 1e-9),
            elapsed_s=self._elapsed_s,
            solved=self._solved(metrics),
        )

    @property
    def _elapsed_s(self) -> float:
        return monotonic() - self._started

    def _save(self) -> None:
        if self._file is None:
            return
        state = {
            "engine": self._engine.snapshot(),
            "reports": [dataclasses.asdict(report) for report in self.reports],
            "best": {"r2": self._best_r2, "index": self._best_index, "weights": self._best_weights},
            "elapsed_s": self._elapsed_s,
            "foreseen_min": self._foreseen_min,
            "stopped": self._stopped,
        }
        checkpoints.save(self._file, state, self._identity)
        self._saved = monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        self._engine.restore(state["engine"])
        self.reports = [Report(**report) for report in state["reports"]]
        best = state["best"]
        self._best_r2, self._best_index, self._best_weights = best["r2"], best["index"], best["weights"]
        self._started -= state["elapsed_s"]
        self._foreseen_min = state.get("foreseen_min")  # not forecast anew: a late run is truncated, not refused
        self._stopped = state.get("stopped", False)
