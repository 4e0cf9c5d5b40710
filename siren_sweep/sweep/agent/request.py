"""Makes a request to an agent: the files of its folder, and the configs with which its answer is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.study import Study

from siren_sweep.config.config_file import yaml_text
from siren_sweep.config.schema import Config
from siren_sweep.paths import SweepPaths
from siren_sweep.search.encoding import Params
from siren_sweep.search.space import Space
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.sweep import user_input
from siren_sweep.sweep.agent import texts
from siren_sweep.sweep.agent.parents import Known
from siren_sweep.sweep.agent.parsing import Given, given_config
from siren_sweep.sweep.agent.program import own_instructions
from siren_sweep.views.blocks import read_blocks
from siren_sweep.views.record.analysis import analysis_text
from siren_sweep.views.record.memory import memory_text
from siren_sweep.views.record.ucb_scores import ucb_text

USER_INPUT = "user_input.md"


@dataclass(frozen=True)
class Request:
    """The request for one batch.

    `files` has all texts by file name; `given` has the configs among them, as values. `known` are the block's configs,
    which the agent must not repeat; `near` are points whose values it may return rounded.
    """

    batch: texts.Batch
    space: Space
    files: Mapping[str, str]
    given: Mapping[str, Given]
    known: Sequence[Known]
    near: Sequence[Params]


def make_request(
    cfg: Config,
    paths: SweepPaths,
    blocks: tuple[Mapping[int, Study], Mapping[int, Study]],
    block: int,
    space: Space,
    start: Sequence[Params],
    slots: Sequence[int],
    pending: Sequence[Params],
) -> Request:
    """The request for `slots` of a batch, from the studies as they are now; without slots, for the memory alone.

    `blocks` are the studies of the blocks, and of the runs beside them. `start` are the points of `space` that the
    block starts from, the best guess first. `pending` are configs that are in the batch already.
    """
    studies, validations = blocks
    batch = _batch(cfg, paths.root.name, studies, block, slots)
    views = read_blocks(studies, validations)
    files = {
        batch.file("instructions.md"): texts.instructions(
            batch, space, cfg.claude.time_budget_min, cfg.claude.solved_r2, own_instructions(cfg.agent)
        ),
        batch.file("memory.md"): memory_text(batch.name, views),
        batch.file("analysis.md"): analysis_text(batch.name, views),
        batch.file("ucb_scores.txt"): ucb_text(next(view for view in views if view.number == block)),
        USER_INPUT: user_input.read(paths.user_input)[0],
        texts.HYPOTHESES: texts.HYPOTHESES_HEAD,
    }
    last = {trial.plan.slot: trial.plan.config for trial in read_trials(studies[block])}
    given: dict[str, Given] = {}
    for slot, iteration, name in zip(slots, batch.iterations, batch.configs, strict=True):
        begin = start[slot] if slot < len(start) else start[0]
        given[name] = given_config(last.get(slot) or space.config(begin), space)
        files[name] = texts.config_head(iteration) + yaml_text(given[name])
    known = _known(studies[block], space, batch, pending)
    return Request(batch, space, files, given, known, [*(one.params for one in known), *start])


def _batch(cfg: Config, name: str, studies: Mapping[int, Study], block: int, slots: Sequence[int]) -> texts.Batch:
    ran = [trial for study in studies.values() for trial in read_trials(study)]
    # A block that is opened again may have later ones.
    last = max(((one.plan.block, one.plan.batch) for one in ran if one.plan.block <= block), default=None)
    return texts.Batch(
        name,
        block,
        [one.n_training_frames for one in cfg.blocks.schedule],
        slots,
        1 + len(ran),
        sorted(one.plan.iteration for one in ran if (one.plan.block, one.plan.batch) == last),
        block_ended=last is not None and last[0] < block,
    )


def _known(study: Study, space: Space, batch: texts.Batch, pending: Sequence[Params]) -> list[Known]:
    """The configs that have run in this block, and those that are already in this batch."""
    ran = [trial for trial in read_trials(study) if trial.params.keys() >= space.dimensions.keys()]
    first, asked = len(study.get_trials(deepcopy=False)), "one that a person asked for"
    return [
        *(
            Known(one.number, one.plan.iteration, one.params, one.finite_value, f"iteration {one.plan.iteration}")
            for one in ran
        ),
        *(
            Known(first + slot, batch.first_iteration + slot, params, None, asked)
            for slot, params in enumerate(pending)
        ),
    ]
