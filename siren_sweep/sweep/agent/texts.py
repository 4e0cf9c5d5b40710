"""The texts for an agent: its instructions, and the prompt of each batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from siren_sweep.config.parameters import PARAMETERS, RATIOS, WINDOW, leaf, parameter_of
from siren_sweep.search.limits import Limit, limited, values_text
from siren_sweep.search.proposal import shown
from siren_sweep.search.space import Space
from siren_sweep.study.log_format import BLOCK_END
from siren_sweep.sweep.agent.parsing import editable
from siren_sweep.text import one_line
from siren_sweep.views.record.notes import FREE

HYPOTHESES = "hypotheses.yaml"
_MOST_FAULTS = 40  # faults in a prompt
HYPOTHESES_HEAD = """\
# What each config is to show, by its number. `falsified_by` and `parent` may be left out; a parent is an iteration of
# this block, or of this batch. For example:
#
# "00":
#   hypothesis: Raising omega_f from 80 to 160 improves final_r2, since the field has fine detail.
#   falsified_by: a final_r2 below that of iteration 3
#   parent: 3
"""
_INSTRUCTIONS = """\
# SIREN exploration: {name}

## Goal

Find hyperparameters of a SIREN, (t, x, y) to luminance, with which it learns the stimulus field: the highest
**final_r2**, 1 - SSE/SST over all frames and neurons, above 0.95 and as near to 1 as can be, at every number of frames
in turn: {frames}. Secondary: final_mse, training_time_min (at most {minutes:g} minutes for a config), total_params;
rank_90 and rank_99 are the data's. An iteration is excellent above 0.95, good from 0.8, moderate from 0.5, else poor.
{solved}
## Method

Hypothesize, test, judge. Each config tests a hypothesis. It should differ from its parent, a config that has run, in
one parameter. You can only hypothesize: the results decide, and the sweep judges every hypothesis by one rule, against
the noise between seeds. Its verdicts stand in `{name}_analysis.md` and in the table, the principles and the falsified
hypotheses of `{name}_memory.md`. A statement is established by three or more consistent iterations, tentative with
fewer, contradicted where iterations conflict.

## Files

| file | what it is | what you may do |
| --- | --- | --- |
| `{name}_memory.md` | what is known so far | write below {free}; your lines are kept, and come back as quotations |
| `{name}_analysis.md` | the log, an entry an iteration | read; the sweep writes it |
| `{name}_ucb_scores.txt` | the tree's scores: which configs are worth going on from | read |
| `user_input.md` | what a person asked of the sweep, which does and acknowledges it | read, and take it into account |
| {configs} | the configs of the next batch | edit, all of them |
| `{hypotheses}` | what each config is to show, and its parent | fill in |

Nothing else that you write is read. What you write is data: a value beyond its bounds, or a key that is not one of the
parameters, is refused, and you are asked to correct it. A config that is still wrong then is replaced by the sampler.

## Each batch

1. Read the memory, the log, the scores and `user_input.md`.
2. Say in the memory what you make of the results, and which hypothesis comes next.
3. Edit the configs: all must differ, and none may have run in this block. Change only values of the parameters below.
   All configs share the data and one seed. A good batch varies one parameter in every config, or two parameters at two
   values each, or varies the best config.
4. Fill in `{hypotheses}`, and end.

After `PARALLEL START` nothing is known yet: four values of omega_f, all else equal, are a good first look. After
`{block_end}` a block is over: sum up what was found under "Paper Summary" and "Previous Block Summary", and say what
should change at the new number of frames. The best config was carried over, with nnr_f_T_period set to the new number
of frames.

## The parameters in this block, n_training_frames {n_frames}

The frames are fixed. Time grows with the square of the width, and with layers, frames a step and steps.

| parameter | section | values | what it is |
| --- | --- | --- | --- |
{parameters}
{windows}"""

_SOLVED = """\

A training run ends where it reaches an R2 of {solved:g}: it is solved, and differences above that R2 do not count. Of
the solved configs the one with the least arithmetic wins: steps run x frames a step x weights. So once a config is
solved, look for one that is solved with less arithmetic.
"""


@dataclass(frozen=True)
class Batch:
    """A batch: the iterations that are planned in it, and those of the batch before, whose results are new."""

    name: str  # of the sweep
    block: int
    frames: Sequence[int]  # n_training_frames of each block
    slots: Sequence[int]
    first_iteration: int  # the iteration in slot 0
    results: Sequence[int] = ()  # iterations of the batch before
    block_ended: bool = False  # with that batch

    @property
    def iterations(self) -> list[int]:
        """The iteration of each slot."""
        return [self.first_iteration + slot for slot in self.slots]

    @property
    def what(self) -> str:
        """The batch in words; without slots, the end of its block."""
        where = self.where(self.block)
        return f"{_iterations(self.iterations)} ({where})" if self.slots else f"the end of {where}"

    @property
    def configs(self) -> list[str]:
        """The name of each slot's config file."""
        return [f"{self.name}_{slot:02d}.yaml" for slot in self.slots]

    def file(self, kind: str) -> str:
        """The name of a file of some kind: `memory.md` is `NAME_memory.md`."""
        return f"{self.name}_{kind}"

    def where(self, block: int) -> str:
        """A block's place in the sweep."""
        return f"block {block} of {len(self.frames)}, n_training_frames {self.frames[block - 1]}"


def instructions(batch: Batch, space: Space, minutes: float, solved: float | None, own: str) -> str:
    """The agent's instructions. `minutes` is the time limit of a config, `solved` is `claude.solved_r2`.

    `own` is a person's text, which is added at the end.
    """
    text = _INSTRUCTIONS.format(
        name=batch.name,
        frames=", ".join(map(str, batch.frames)),
        minutes=minutes,
        solved="" if solved is None else _SOLVED.format(solved=solved),
        free=", ".join(f'"{section}"' for section in FREE),
        configs=", ".join(f"`{name}`" for name in batch.configs),
        hypotheses=HYPOTHESES,
        block_end=BLOCK_END,
        n_frames=space.block.n_training_frames,
        parameters="\n".join(_row(name, space) for name in editable(space)),
        windows=_windows(space),
    )
    return f"{text}\n{own.strip()}\n" if own.strip() else text


def first_prompt(batch: Batch, scores: str) -> str:
    """The first prompt for a batch; without slots, the prompt after the last block. `scores` is the scores' path."""
    wanted = (
        f"Plan {batch.what}: edit {', '.join(batch.configs)}, each another config, "
        f"fill in {HYPOTHESES}, write your reasons into {batch.name}_memory.md, and end. "
        f"{batch.name}_instructions.md says how."
    )
    if not batch.results:
        return f"PARALLEL START\n\n{wanted}\n"
    ran = f"{_iterations(batch.results).capitalize()} ran ({batch.where(batch.block - batch.block_ended)})."
    results = f"{ran} Results: {batch.name}_analysis.md\nUCB scores: {scores}"
    if not batch.slots:
        wanted = f"This was the last block. Sum up in {batch.name}_memory.md what was found, and end."
    ended = batch.block_ended or not batch.slots
    return "\n\n".join([results, *([BLOCK_END] if ended else []), wanted]) + "\n"


def second_prompt(batch: Batch, faults: Sequence[str], not_taken: Sequence[str]) -> str:
    """The prompt that lists the faults of the agent's answer, and the changes that were ignored but are no faults."""
    text = (
        f"What you wrote for {batch.what} has faults. Correct them in the same "
        f"files, and end; {batch.name}_instructions.md says which values there are.\n\n{_listed(faults)}"
    )
    return f"{text}\nNot taken:\n\n{_listed(not_taken)}" if not_taken else text


def _listed(lines: Sequence[str]) -> str:
    kept = [f"- {one_line(line, 400)}\n" for line in lines[:_MOST_FAULTS]]
    more = len(lines) - len(kept)
    return "".join(kept) + (f"- and {more} more\n" if more > 0 else "")


def _iterations(numbers: Sequence[int]) -> str:
    first, last = numbers[0], numbers[-1]
    return f"iteration {first}" if first == last else f"iterations {first}-{last}"


def _row(name: str, space: Space) -> str:
    return f"| `{leaf(name)}` | {name.partition('.')[0]} | {_values(name, space)} | {PARAMETERS[name].about} |"


def _values(name: str, space: Space) -> str:
    dimension = next((one for one in space.dimensions if parameter_of(one) == name), None)
    if dimension is None:
        return f"{shown(space.fixed[name])}, which does not vary"
    if dimension in RATIOS and len(space.windows) > 1:
        return "by the windows, see below"
    return values_text(space, dimension)


def _windows(space: Space) -> str:
    """The allowed values of the ratios for each length of the windows; empty where that does not vary."""
    if len(space.windows) < 2:
        return ""
    rows = []
    for window in space.windows:
        part = limited(space, {WINDOW: Limit(window, window)})
        values = [f"{leaf(parameter_of(one))} {values_text(part, one)}" for one in part.dimensions if one in RATIOS]
        rows.append(f"- {leaf(WINDOW)} {window}: {'; '.join(values)}")
    return "\n".join(["", *rows, ""])


def config_head(iteration: int) -> str:
    """The first line of a config's file."""
    return f"# The config of iteration {iteration}. Change values of the parameters alone.\n"
