"""Makes the sampler and the pruner that the config names, and says at which reports a trial pauses."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import hydra
import optuna
from optuna.pruners import BasePruner

from siren_sweep.config.choices import Strategy
from siren_sweep.config.parameters import PARAMETERS
from siren_sweep.config.schema import N_REPORTS, Config
from siren_sweep.search.proposal import ASKED_FOR, is_start
from siren_sweep.search.proposer import Proposer
from siren_sweep.study.records import Trial
from siren_sweep.train.machine import n_gpus
from siren_sweep.train.size import arithmetic, n_networks

# Arithmetic (parameters x frames x steps) of about ten seconds, which is not much longer than to start a trial again.
_SHORT_ON_CPU = 1e9  # on one core
_SHORT_ON_GPU = 2e10  # on an H100 that four trials share


def make_proposer(cfg: Config, seed: int = 0) -> Proposer:
    """The proposer that `sampler` and `asked_by` of the config name. Raises whatever a person's class raises."""
    proposer: Proposer = hydra.utils.get_method(cfg.asked_by)(_instantiate(cfg.sampler, seed=seed))
    return proposer


def make_pruner(cfg: Config, may_pause: bool = True) -> BasePruner:
    """The pruner that the config names, for a trial of this config. Raises whatever a person's class raises."""
    node = dict(cfg.pruner)
    if "pauses_at" in node:
        config = {name: parameter.value_in(cfg) for name, parameter in PARAMETERS.items()}
        node["pauses_at"] = pauses(cfg, cfg.training.n_training_frames, config) if may_pause else []
    pruner: BasePruner = _instantiate(node)
    return pruner


def pauses(cfg: Config, n_training_frames: int, config: Mapping[str, Any]) -> list[int]:
    """The numbers of the reports at which a trial of a config (explorable parameters by dotted name) pauses.

    There are none where the trial, with all windows that it trains, is soon over on its device. Nor are there any where
    an agent or a layout fills each batch, since then nobody decides which trials are resumed.
    """
    if cfg.agent.command or cfg.claude.strategy not in (Strategy.auto, Strategy.none):
        return []
    at: list[int] = cfg.pruner.get("pauses_at", [])
    work = arithmetic(config, n_networks(n_training_frames, config, cfg.claude.search_windows))
    return at if work >= (_SHORT_ON_GPU if _on_gpu(cfg) else _SHORT_ON_CPU) else []


def work_ahead(cfg: Config, trial: Trial) -> float:
    """The arithmetic (`train.size.arithmetic`) of a trial's present batch: up to its next pause, or to its end."""
    plan, reached = trial.plan, trial.reached
    whole = plan.strategy == ASKED_FOR or is_start(plan.strategy, plan.parent)
    at = [] if whole else pauses(cfg, plan.n_training_frames, plan.config)
    end = min((index / N_REPORTS for index in at if index / N_REPORTS > reached), default=1.0)
    networks = n_networks(plan.n_training_frames, plan.config, cfg.claude.search_windows)
    return arithmetic(plan.config, networks) * (end - reached)


def _on_gpu(cfg: Config) -> bool:
    """Whether trials train on a GPU, of a cluster's jobs or of this machine."""
    if cfg.cluster.scheduler is not None:
        return cfg.training.device != "cpu" and cfg.cluster.gpus > 0
    return n_gpus(cfg.training.device) > 0


def _instantiate(node: Mapping[str, Any], **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return hydra.utils.instantiate(node, **more)
