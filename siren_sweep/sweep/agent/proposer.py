"""A proposer that asks an agent for the configs of a batch. The sampler replaces configs that the agent gets wrong."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import Study

from siren_sweep.config.schema import Config
from siren_sweep.errors import OutputError
from siren_sweep.paths import SweepPaths
from siren_sweep.search.encoding import Params
from siren_sweep.search.proposal import Proposal
from siren_sweep.search.proposer import Proposer
from siren_sweep.search.space import Space
from siren_sweep.study.stored import write_notes
from siren_sweep.sweep.agent import texts
from siren_sweep.sweep.agent.answer import Answer, read_answer
from siren_sweep.sweep.agent.folder import AgentFolder
from siren_sweep.sweep.agent.parents import Known, child_of
from siren_sweep.sweep.agent.parsing import Stated
from siren_sweep.sweep.agent.program import run_program
from siren_sweep.sweep.agent.request import Request, make_request
from siren_sweep.text import one_line

STRATEGY = "agent"


class AgentProposer:
    """Asks `agent.command` for the configs of one batch of one block."""

    def __init__(
        self,
        cfg: Config,
        paths: SweepPaths,
        blocks: tuple[Mapping[int, Study], Mapping[int, Study]],
        place: tuple[int, int],
        space: Space,
        start: Sequence[Params],
        sampler: Proposer,
    ) -> None:
        """`blocks` are the studies of the blocks, and those of the runs beside them. `place` is the number of the block
        and of the batch. `space` is the block's, or the part of it to which a person's instructions limit the configs.
        `start` are the points that the block starts from, the best guess first. `sampler` replaces wrong configs.
        """
        self._cfg, self._paths, self._blocks, self._place = cfg, paths, blocks, place
        self._space, self._start, self._sampler = space, start, sampler
        self._log = _Log(paths.agent / f"block_{place[0]:02d}_batch_{place[1]:03d}.log")

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
        """As `Proposer.propose`: up to n configs in the order of their slots.

        They are the agent's valid configs. In place of each other one there is a config of the sampler, with a note
        that says why.
        """
        if not n:
            return []
        slots = range(len(pending), len(pending) + n)
        request = make_request(
            self._cfg, self._paths, self._blocks, self._place[0], self._space, self._start, slots, pending
        )
        answer = self._ask(request)
        if answer.notes is not None:
            write_notes(study, answer.notes)
        own = _proposals(answer, request, len(study.get_trials(deepcopy=False)))
        open_ = [slot for slot in slots if slot not in own]
        taken = [*pending, *(proposal.params for proposal in own.values())]
        more = {"pending": taken, "earlier": earlier, "within": within, "left": left}
        filled = self._sampler.propose(study, distributions, len(open_), **more) if open_ else []  # type: ignore[arg-type]
        order = [*range(len(pending)), *own, *open_]  # of slots, as the sampler numbers them
        both = dict(own)
        for slot, proposal in zip(open_, filled, strict=False):
            name = request.batch.configs[slot - slots[0]]
            note = f"the sampler's, in the place of the agent's {name}: {answer.why_not(name)}"
            both[slot] = dataclasses.replace(_moved(proposal, study, dict(enumerate(order))), note=note)
        where = f"; its log is {self._log.file}" if open_ else ""
        self._tell(
            f"{len(own)} of {n} configs are the agent's{where}", *(both[slot].note for slot in open_ if slot in both)
        )
        final = {place: index for index, place in enumerate([*range(len(pending)), *sorted(both)])}
        return [_moved(both[slot], study, final) for slot in sorted(both)]

    def sum_up(self, study: optuna.Study) -> None:
        """Tell the agent that the last block has ended, and store the text that it then writes into the memory."""
        self._log = _Log(self._paths.agent / f"block_{self._place[0]:02d}_end.log")
        request = make_request(self._cfg, self._paths, self._blocks, self._place[0], self._space, self._start, (), ())
        if (notes := self._ask(request).notes) is not None:
            write_notes(study, notes)

    def _ask(self, request: Request) -> Answer:
        """The agent's answer. Where it has faults, the agent is asked again with these, up to `agent.retries` times."""
        folder = AgentFolder(self._paths.agent / "folder", request.files)
        prompt = texts.first_prompt(request.batch, str(folder.root / request.batch.file("ucb_scores.txt")))
        answer = Answer()
        self._log.begin()
        wanted = f"for {len(request.batch.slots)} configs" if request.batch.slots else "what it makes of the last block"
        self._tell(f"the agent is asked {wanted}; {self._cfg.agent.timeout_min:g} min at most")
        try:
            with folder:
                for _ in range(1 + self._cfg.agent.retries):
                    self._log.add("prompt", prompt)
                    self._log.add("output")
                    ended = run_program(self._cfg.agent, prompt, folder.root, self._log.file)
                    answer = read_answer(folder, request, ended)
                    if not answer.faults:
                        break
                    self._log.add("faults", "\n".join(answer.lines))
                    folder.tidy()
                    prompt = texts.second_prompt(request.batch, answer.lines, answer.not_taken)
        except OutputError as error:
            answer.ended = str(error)
        return answer

    def _tell(self, *lines: str) -> None:
        head = f"block {self._place[0]}, batch {self._place[1]}"
        print("\n".join(f"{head}: {one_line(line, 400)}" for line in lines), file=sys.stderr)


class _Log:
    """The log of all prompts, outputs and faults of one batch."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def begin(self) -> None:
        """Start the file, without the log of an earlier, interrupted request for the batch."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text("")

    def add(self, what: str, text: str = "") -> None:
        with self.file.open("a", encoding="utf-8", errors="replace") as log:
            log.write(f"\n===== {what}\n" + (f"{text.rstrip()}\n" if text else ""))


def _proposals(answer: Answer, request: Request, first: int) -> dict[int, Proposal]:
    """The valid configs as proposals, by slot, each with the nearest config as its parent.

    A parent in the same batch has the number `first` + its slot.
    """
    known, proposals = list(request.known), dict[int, Proposal]()
    distributions = request.space.dimensions
    for slot, iteration in zip(request.batch.slots, request.batch.iterations, strict=True):
        if slot in answer.params:
            params, stated = answer.params[slot], answer.stated.get(slot, Stated())
            proposals[slot] = child_of(params, stated, known, distributions, STRATEGY)
            known.append(Known(first + slot, iteration, params, None, f"iteration {iteration}"))
    return proposals


def _moved(proposal: Proposal, study: Study, places: Mapping[int, int]) -> Proposal:
    """The proposal; a parent in the same batch gets the number of its new place, `places` of the old one."""
    first = len(study.get_trials(deepcopy=False))
    if proposal.parent is None or proposal.parent < first:
        return proposal
    return dataclasses.replace(proposal, parent=first + places[proposal.parent - first])
