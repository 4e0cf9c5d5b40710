"""Plans the next batch of a block, and stores it in the study."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Mapping, Sequence

from optuna.storages import BaseStorage
from optuna.study import Study

from siren_sweep.config.schema import N_REPORTS, Config
from siren_sweep.paths import SweepPaths
from siren_sweep.search.encoding import Params
from siren_sweep.search.policies import make_proposer, pauses
from siren_sweep.search.proposal import ASKED_FOR, Proposal, is_start
from siren_sweep.search.proposer import Proposer
from siren_sweep.search.space import Space
from siren_sweep.search.strategy import plan_batch
from siren_sweep.study.records import PlannedTrial, TrialPlan
from siren_sweep.study.snapshots import ReadOnce, Told
from siren_sweep.study.stored import last_batch, read_block, write_plan, write_told
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.study.studies import all_blocks, all_studies, n_left, open_batches, told_batch
from siren_sweep.sweep import warm_start
from siren_sweep.sweep.agent.proposer import AgentProposer
from siren_sweep.sweep.batch import enqueue_plan
from siren_sweep.sweep.block import BlockStart
from siren_sweep.sweep.instructions import Instructions
from siren_sweep.sweep.paused import give_up_beyond


class Planner:
    """Plans the batches of a sweep from its seed and its studies, so that a resumed sweep plans the same batches.

    An agent may answer differently: it is asked again for a batch that was not stored.
    """

    def __init__(self, cfg: Config, storage: BaseStorage, paths: SweepPaths, instructions: Instructions) -> None:
        self._cfg, self._storage, self._paths, self._instructions = cfg, storage, paths, instructions

    def resume(self, study: Study, start: BlockStart) -> None:
        """Enqueue the rest of the open batches, where a sweep was interrupted while it enqueued them."""
        for batch in open_batches(study):
            enqueue_plan(self._storage, study, batch, start.space.dimensions)

    def plan(self, study: Study, start: BlockStart) -> bool:
        """Plan one more batch and enqueue it; returns False where no config or no step is left.

        Of open batches the planner knows the configs, and no results. Each of their trials counts as a full trial.
        """
        now = ReadOnce(self._storage, study, still=True)
        if give_up_beyond(self._storage, self._seen(now), self._paths):
            now = ReadOnce(self._storage, study, still=True)
        open_, seen = open_batches(now), self._seen(now)
        batch = last_batch(now) + 1
        left = n_left(read_trials(now), self._instructions.n_trials(start.number), open_)
        if left <= 0:
            return False
        n = self._cfg.claude.n_parallel
        n = n if self._pauses(start, start.base) else min(n, left)
        blocks = all_blocks(self._storage)
        proposals = self._propose(seen, start, blocks, batch, n, left)
        proposals = affordable(seen, proposals, left, [self._pauses(start, one.params) for one in proposals])
        if not proposals:
            if not open_:
                n_run = len(read_trials(study))
                why = "no config is left to run that could win with the steps that are left"
                print(f"block {start.number} ends after {n_run} trials: {why}", file=sys.stderr)
            return False
        if batch == 1:
            write_told(study, 0)
        write_plan(study, self._placed(seen, start, blocks, batch, proposals))
        enqueue_plan(self._storage, study, batch, start.space.dimensions, read_trials(now))
        return True

    def _seen(self, now: Study) -> Study:
        """A study as the search sees it while batches are open."""
        if not open_batches(now):
            return now
        return ReadOnce(self._storage, Told(self._storage, now, told_batch(now)), still=True)

    def _pauses(self, start: BlockStart, params: Params) -> list[int]:
        """The numbers of the reports at which a trial with these params pauses."""
        return pauses(self._cfg, start.n_training_frames, start.space.config(params))

    def close(self, study: Study, start: BlockStart) -> None:
        """Tell an agent of the end of the last block. Of another block's end it is told with the next batch."""
        if self._cfg.agent.command and start.number == len(self._cfg.blocks.schedule):
            sampler = make_proposer(self._cfg, self._cfg.training.seed)
            self._agent(start, last_batch(study), start.space, [start.base], sampler).sum_up(study)

    def _agent(
        self, start: BlockStart, batch: int, space: Space, begins: Sequence[Params], sampler: Proposer
    ) -> AgentProposer:
        runs = all_studies(self._storage)
        return AgentProposer(self._cfg, self._paths, runs, (start.number, batch), space, begins, sampler)

    def _placed(
        self, study: Study, start: BlockStart, blocks: Mapping[int, Study], batch: int, proposals: Sequence[Proposal]
    ) -> list[PlannedTrial]:
        """The plan of each slot. New trials get the next iterations; a resumed trial keeps its own."""
        iterations = {trial.number: trial.plan.iteration for trial in read_trials(study)}
        proposals = renumbered(proposals, len(study.get_trials(deepcopy=False)))
        others = [other for number, other in blocks.items() if number != start.number]
        following = itertools.count(1 + sum(len(read_trials(other)) for other in [*others, study]))
        planned = []
        for slot, proposal in enumerate(proposals):
            plan = TrialPlan(
                iteration=next(following) if proposal.goes_on is None else iterations[proposal.goes_on],
                config=start.space.config(proposal.params),
                block=start.number,
                batch=batch,
                slot=slot,
                n_training_frames=start.n_training_frames,
                seed=self._cfg.training.seed,
                data_hash=read_block(study).data_hash,
                parent=proposal.parent,
                mutation=proposal.mutation,
                strategy=proposal.strategy,
                hypothesis=proposal.hypothesis,
                note=proposal.note,
                sampler_state=proposal.sampler_state,
            )
            planned.append(PlannedTrial(proposal.params, plan, proposal.goes_on))
        return planned

    def _propose(
        self, study: Study, start: BlockStart, blocks: Mapping[int, Study], batch: int, n: int, left: int
    ) -> list[Proposal]:
        seed = self._cfg.training.seed + 1000 * start.number + batch
        known = warm_start.earlier(self._storage, start.space)
        if batch == 1 and self._cfg.sweep.learn_from is not None and not known:
            why = "no trial there has a config that lies in its search space"
            print(f"block {start.number} learns nothing from {self._cfg.sweep.learn_from}: {why}", file=sys.stderr)
        carried, best = start.carried, warm_start.best_known(known)
        if start.number == 1 and best:
            carried = [best, start.base]
        part = self._instructions.part_of(start.space)
        proposer = make_proposer(self._cfg, seed)
        if self._cfg.agent.command:
            proposer = self._agent(start, batch, part, carried or [start.base], proposer)
        return plan_batch(
            study,
            start.space.dimensions,
            proposer,
            n,
            strategy=self._cfg.claude.strategy,
            base=start.base,
            carried=carried,
            earlier=known + [blocks[number] for number in sorted(blocks) if number < start.number],
            within=part.dimensions,
            wanted=self._instructions.wanted(start.number),
            left=left,
        )


def renumbered(proposals: Sequence[Proposal], first: int) -> list[Proposal]:
    """The proposals of a batch, in which a parent of the same batch has the number that it will have as a trial.

    `first` is the number of the study's next trial.
    """
    new = itertools.count(first)
    numbers = [next(new) if one.goes_on is None else one.goes_on for one in proposals]
    return [
        dataclasses.replace(one, parent=numbers[one.parent - first])
        if one.parent is not None and one.parent >= first
        else one
        for one in proposals
    ]


def affordable(
    study: Study, proposals: Sequence[Proposal], n_trials: int, pauses_at: Sequence[Sequence[int]]
) -> list[Proposal]:
    """The proposals, in their order, that fit into a budget of `n_trials` full trials.

    A proposal costs its steps up to the next of its reports in `pauses_at`. A config that the block starts from, or for
    which a person asked, costs all of its steps. A proposal whose parent is left out is left out too.
    """
    reached = {trial.number: trial.reports[-1].index for trial in read_trials(study) if trial.reports}
    first, left = len(study.get_trials(deepcopy=False)), n_trials * N_REPORTS
    places: dict[int, int] = {}  # number if all proposals ran -> number of those that are kept
    kept: list[Proposal] = []
    for number, (proposal, at) in enumerate(zip(proposals, pauses_at, strict=True), first):
        begin = 0 if proposal.goes_on is None else reached[proposal.goes_on]
        unpaused = proposal.strategy == ASKED_FOR or is_start(proposal.strategy, proposal.parent)
        whole = proposal.goes_on is None and unpaused
        needs = min([N_REPORTS, *(end for end in at if end > begin and not whole)]) - begin
        orphan = proposal.parent is not None and proposal.parent >= first and proposal.parent not in places
        if needs <= left and not orphan:
            left -= needs
            places[number] = first + len(kept)
            kept.append(proposal)
    parents = [None if one.parent is None else places.get(one.parent, one.parent) for one in kept]
    return [dataclasses.replace(one, parent=parent) for one, parent in zip(kept, parents, strict=True)]
