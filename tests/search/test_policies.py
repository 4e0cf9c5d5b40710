"""Every sampler and pruner of `conf/` serves a block as it stands there."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from hydra import compose, initialize_config_dir
from optuna.distributions import FloatDistribution

from siren_sweep.cli.main import conf_dir, typed
from siren_sweep.config.choices import Strategy
from siren_sweep.config.parameters import HIDDEN_DIM, TOTAL_STEPS, defaults
from siren_sweep.config.schema import Config
from siren_sweep.search.policies import make_proposer, make_pruner, work_ahead
from siren_sweep.search.proposal import ASKED_FOR
from siren_sweep.search.strategy import plan_batch
from siren_sweep.study.records import Trial, TrialPlan
from siren_sweep.sweep.block import start_block
from siren_sweep.train.report import Report
from siren_sweep.train.size import arithmetic


def names(group: str) -> list[str]:
    return sorted(file.stem for file in (Path(conf_dir()) / group).glob("*.yaml"))


def composed(*overrides: str) -> Config:
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        return typed(compose("config", list(overrides)))


@pytest.mark.parametrize("name", names("sampler"))
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_proposes_distinct_configs_batch_after_batch(name: str) -> None:
    """Also where somebody added a trial of their own to the study."""
    cfg = composed(f"sampler={name}", "blocks=demo")
    start = start_block(cfg, 1, cfg.search_space.params, {}, None)
    study = optuna.create_study(direction="maximize")
    study.add_trial(optuna.create_trial(value=0.9, params={"x": 1.0}, distributions={"x": FloatDistribution(0, 2)}))
    for batch in range(3):
        proposer = make_proposer(cfg, batch)
        proposals = plan_batch(study, start.space.dimensions, proposer, 4, strategy=Strategy.auto, base=start.base)
        assert len(proposals) == 4
        for proposal in proposals:
            study.enqueue_trial(proposal.params)
            trial = study.ask(start.space.dimensions)
            study.tell(trial, 0.5 + 0.001 * trial.number)
    configs = [tuple(sorted(trial.params.items())) for trial in study.trials[1:]]
    assert len(set(configs)) == 12


@pytest.mark.parametrize("name", names("pruner"))
def test_a_pruner_is_asked_at_every_report(name: str) -> None:
    pruner = make_pruner(composed(f"pruner={name}"))
    study = optuna.create_study(study_name="block_01", direction="maximize", pruner=pruner)  # by which Hyperband draws
    stopped_at = []
    for number in range(12):
        trial = study.ask()
        level = -1.0 if number == 11 else 0.9 + 0.001 * (number % 5)
        for index in range(1, 21):
            trial.report(level * index / 20, index)
            if trial.should_prune():
                stopped_at.append((number, index))
                break
        ended = stopped_at and stopped_at[-1][0] == number
        study.tell(trial, None if ended else level, state=optuna.trial.TrialState.PRUNED if ended else None)
    if name == "none":
        assert not stopped_at
    else:
        assert stopped_at
        assert stopped_at[-1][0] == 11, "the hopeless one is stopped"
        assert stopped_at[-1][1] < 20


def test_the_work_ahead_of_a_trial_ends_at_its_next_pause() -> None:
    cfg = composed()
    long = defaults() | {HIDDEN_DIM: 256, TOTAL_STEPS: 20_000}
    short = long | {TOTAL_STEPS: 20}
    whole = arithmetic(long, 1)

    def ahead(config: dict[str, object], reached: int, parent: int | None = 0, strategy: str = "tree") -> float:
        plan = TrialPlan(1, config, n_training_frames=100, strategy=strategy, parent=parent)
        reports = [Report(i, i / 20, i, 0.5, 0.1, 1e-3, 9.0, 1.0) for i in range(1, reached + 1)]
        return work_ahead(cfg, Trial(0, optuna.trial.TrialState.RUNNING, None, {}, plan, reports=tuple(reports)))

    assert ahead(long, 0) == pytest.approx(whole * 1 / 20)
    assert ahead(long, 1) == pytest.approx(whole * 3 / 20)
    assert ahead(long, 4) == pytest.approx(whole * 16 / 20)
    assert ahead(long, 0, strategy=ASKED_FOR) == ahead(long, 0, None, "focused") == whole
    assert ahead(short, 0) == arithmetic(short, 1), "a trial that is soon over does not pause"
    assert ahead(long, 0, parent=None) == pytest.approx(whole / 20), "of no layout, so it pauses"
