"""The sampler and the pruner that the config names; how any of Optuna's samplers is asked for a batch."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import hydra
import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from siren_sweep.config.choices import Strategy
from siren_sweep.config.parameters import PARAMETERS
from siren_sweep.config.schema import Config
from siren_sweep.search.encoding import Axis, Params, axes, nearest
from siren_sweep.search.proposal import Batch, Proposal
from siren_sweep.study.snapshots import seen_trials
from siren_sweep.study.stored_trials import sampler_state
from siren_sweep.train.machine import n_gpus
from siren_sweep.train.size import arithmetic, n_networks

# parameters x frames x steps that take about ten seconds, not much longer than to start again
_SHORT_ON_CPU = 1e9  # a core
_SHORT_ON_GPU = 2e10  # an H100 that four trials share
_DRAWS = 1000  # of these, enough to see most of a small space
_REPEATS = 20  # a sampler that keeps repeating itself is asked this often before a random config takes the place


class Proposer(Protocol):
    """What a batch is asked of. It is made anew for each batch, and keeps no state but what it writes to its trials.

    One that `learns` takes `earlier` studies into account; a person's own says so by an attribute of that name.
    """

    def propose(
        self,
        study: optuna.Study,
        distributions: Mapping[str, BaseDistribution],
        n: int,
        *,
        pending: Sequence[Params] = (),
        earlier: Sequence[optuna.Study] = (),
        within: Mapping[str, BaseDistribution] | None = None,
        left: float = math.inf,
    ) -> list[Proposal]:
        """Up to n configs, new ones, and paused trials that go on; fewer only where no config is left.

        No new one is in the study or pending. `distributions` are the block's. `pending` are configs planned for the
        same batch; `earlier` are studies of earlier blocks, the last one last. `within` are narrower distributions that
        all new ones lie in. `left` is what the block has left for them, in full trials.
        """
        ...


def make_proposer(cfg: Config, seed: int = 0) -> Proposer:
    """What `sampler` and `asked_by` of the config name. Raises whatever a person's class raises."""
    proposer: Proposer = hydra.utils.get_method(cfg.asked_by)(_instantiate(cfg.sampler, seed=seed))
    return proposer


def make_pruner(cfg: Config, may_pause: bool = True) -> BasePruner:
    """What `pruner` of the config names, for a trial of that config. Raises whatever a person's class raises."""
    node = dict(cfg.pruner)
    if "pauses_at" in node:
        config = {name: parameter.value_in(cfg) for name, parameter in PARAMETERS.items()}
        node["pauses_at"] = pauses(cfg, cfg.training.n_training_frames, config) if may_pause else []
    pruner: BasePruner = _instantiate(node)
    return pruner


def pauses(cfg: Config, n_training_frames: int, config: Mapping[str, Any]) -> list[int]:
    """The reports at which a trial of a config (explorable parameters by dotted name) is paused: none where it is soon
    over on what it trains on, with all the windows that a trial trains, nor where an agent or a layout fills each
    batch: nobody would say which go on."""
    if cfg.agent.command or cfg.claude.strategy not in (Strategy.auto, Strategy.none):
        return []
    at: list[int] = cfg.pruner.get("pauses_at", [])
    work = arithmetic(config, n_networks(n_training_frames, config, cfg.claude.search_windows))
    return at if work >= (_SHORT_ON_GPU if _on_gpu(cfg) else _SHORT_ON_CPU) else []


def _on_gpu(cfg: Config) -> bool:
    """Whether trials train on a GPU: a cluster's jobs where they have one, else those of this machine."""
    if cfg.cluster.scheduler is not None:
        return cfg.training.device != "cpu" and cfg.cluster.gpus > 0
    return n_gpus(cfg.training.device) > 0


def _instantiate(node: Mapping[str, Any], **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return hydra.utils.instantiate(node, **more)


class WholeBatches:
    """A sampler that plans whole batches by a `propose` of its own. Raises AttributeError where it has none."""

    learns = True

    def __init__(self, sampler: Proposer) -> None:
        self.propose = sampler.propose


class OneByOne:
    """Any Optuna sampler, asked for one config after the other.

    It is asked in a scratch study with the same trials, so that only planned configs enter the real one. Optuna takes
    one distribution a parameter and study, so where these are narrower than the study's, the trials outside them are
    left out. What a sampler writes to its trials, as CMA-ES its distribution, comes along with the proposal, and is
    there again at the next batch, as long as the space is the same.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler

    def propose(
        self,
        study: optuna.Study,
        distributions: Mapping[str, BaseDistribution],
        n: int,
        *,
        pending: Sequence[Params] = (),
        earlier: Sequence[optuna.Study] = (),
        within: Mapping[str, BaseDistribution] | None = None,
        left: float = math.inf,
    ) -> list[Proposal]:
        """As `Proposer.propose`; a sampler that only repeats itself gives way to random configs. `earlier` and `left`
        are unused: what Optuna's samplers know is one study."""
        part = dict(within or distributions)
        batch = Batch(axes(part), study, n, pending)
        if batch.full:
            return []
        scratch = self._scratch(study, batch.space, pending)
        for _ in range(_REPEATS * n):
            number = scratch.ask(part).number
            asked = scratch.get_trials(deepcopy=False)[number]
            batch.add(Proposal(asked.params, type(self._sampler).__name__, sampler_state=asked.system_attrs))
            if batch.full:
                return batch.proposals
        rng, levels = np.random.default_rng(batch.first_number), {one.name: one.candidates() for one in batch.space}
        for _ in range(_DRAWS):
            drawn = {name: values[rng.integers(len(values))] for name, values in levels.items()}
            batch.add(Proposal(drawn, "random"))
        return batch.proposals

    def _scratch(self, study: optuna.Study, space: Sequence[Axis], pending: Sequence[Params]) -> optuna.Study:
        """A study of the trials that lie in a space, those that are pending among them as running ones."""
        distributions = {axis.name: axis.distribution for axis in space}
        scratch = optuna.create_study(direction=study.direction, sampler=self._sampler)
        for trial in copy.deepcopy(seen_trials(study)):
            if trial.state is not TrialState.WAITING and _inside(space, trial.params):
                if trial.distributions == distributions:
                    trial.system_attrs = {**trial.system_attrs, **sampler_state(trial)}
                trial.distributions = {name: distributions.get(name, old) for name, old in trial.distributions.items()}
                scratch.add_trial(trial)
        for params in pending:
            if _inside(space, params):
                scratch.enqueue_trial(dict(params))
                scratch.ask(distributions)
        return scratch


def _inside(space: Sequence[Axis], params: Params) -> bool:
    """Whether a config lies in a space."""
    known = {axis.name: params[axis.name] for axis in space if axis.name in params}
    return len(known) == len(space) and nearest(space, known) == known
