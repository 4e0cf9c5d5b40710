"""What the next batch of a block holds, and its place in the study."""

from __future__ import annotations

import sys

from optuna.storages import BaseStorage
from optuna.study import Study

from siren_sweep.config.schema import Config
from siren_sweep.paths import SweepPaths
from siren_sweep.search.proposal import Proposal
from siren_sweep.search.proposer import make_proposer
from siren_sweep.search.strategy import plan_batch
from siren_sweep.study.records import TrialPlan
from siren_sweep.study.stored import last_batch, read_block, write_plan
from siren_sweep.study.studies import all_blocks, all_validations, finished, open_batch
from siren_sweep.sweep import warm_start
from siren_sweep.sweep.agent.proposer import AgentProposer
from siren_sweep.sweep.batch import enqueue_plan, planned
from siren_sweep.sweep.block import BlockStart
from siren_sweep.sweep.instructions import Instructions


class Planner:
    """Plans the batches of a sweep, from the seed and the studies alone: a resumed sweep plans the same, but for an
    agent, which is asked again for the batch that it was asked for."""

    def __init__(self, cfg: Config, storage: BaseStorage, paths: SweepPaths, instructions: Instructions) -> None:
        self._cfg, self._storage, self._paths, self._instructions = cfg, storage, paths, instructions

    def plan(self, study: Study, start: BlockStart) -> bool:
        """Plan the next batch where none is open, and enqueue it; False where no config is left to run."""
        batch = open_batch(study)
        if batch is None:
            done, n_iter = len(finished(study)), self._instructions.n_trials(start.number)
            batch = last_batch(study) + 1
            proposals = self._propose(study, start, batch, min(self._cfg.claude.n_parallel, n_iter - done))
            if not proposals:
                print(f"block {start.number} ends after {done} trials: its space has no config left", file=sys.stderr)
                return False
            first = 1 + sum(len(finished(other)) for other in all_blocks(self._storage).values())
            plans = [
                planned(
                    proposal,
                    TrialPlan(
                        iteration=first + slot,
                        config=start.space.config(proposal.params),
                        block=start.number,
                        batch=batch,
                        slot=slot,
                        n_training_frames=start.n_training_frames,
                        seed=self._cfg.training.seed,
                        data_hash=read_block(study).data_hash,
                    ),
                )
                for slot, proposal in enumerate(proposals)
            ]
            write_plan(study, plans)
        enqueue_plan(study, batch, start.space.distributions())
        return True

    def _propose(self, study: Study, start: BlockStart, batch: int, n: int) -> list[Proposal]:
        seed = self._cfg.training.seed + 1000 * start.number + batch
        blocks = all_blocks(self._storage)
        known = warm_start.earlier(self._storage, start.space)
        carried, best = start.carried, warm_start.best_known(known)
        if start.number == 1 and best:
            carried = [best, start.base]
        part = self._instructions.part_of(start.space)
        proposer = make_proposer(self._cfg, seed)
        if self._cfg.agent.command:
            runs = (blocks, all_validations(self._storage))
            at, begins = (start.number, batch), carried or [start.base]
            proposer = AgentProposer(self._cfg, self._paths, runs, at, part, begins, proposer)
        return plan_batch(
            study,
            start.space,
            proposer,
            n,
            strategy=self._cfg.claude.strategy,
            base=start.base,
            carried=carried,
            earlier=known + [blocks[number] for number in sorted(blocks) if number < start.number],
            within=part,
            wanted=self._instructions.wanted(start.number),
        )
