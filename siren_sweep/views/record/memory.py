"""Writes `{name}_memory.md`: what is known so far, in fixed sections that an agent and other programs read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from siren_sweep.config.parameters import WINDOW, leaf
from siren_sweep.study.log_format import BLOCK_END, CONFIG, IMPORTED
from siren_sweep.text import one_line
from siren_sweep.views.blocks import BlockView, Stage, current_block
from siren_sweep.views.grades import grade
from siren_sweep.views.record import words
from siren_sweep.views.record.evidence import Judged, Level, current, statements
from siren_sweep.views.record.noise import noise_before
from siren_sweep.views.record.notes import notes_of, with_notes
from siren_sweep.views.record.verdicts import Call, changed

_COLUMNS = (
    "| Iter | n_frames | hidden_dim | n_layers | omega | lr | batch_sz | T_period | steps | final_r2 | final_mse "
    "| time_min | Hypothesis |\n"
    "| ---- | -------- | ---------- | -------- | ----- | --- | -------- | -------- | ----- | -------- | --------- "
    "| -------- | ---------- |"
)
_ABOVE, _BELOW = (f"{side} the parent's by more than the noise" for side in ("above", "below"))
AGENT = "agent"  # the strategy of a config that an LLM proposed
_GUARD = "**CRITICAL: This section must ALWAYS be at the END of memory file.**"


def memory_text(name: str, blocks: Sequence[BlockView]) -> str:
    """The text of the whole file. Its current block is that of `current_block`."""
    judged = current(blocks)
    now = current_block(blocks)
    begun = [block for block in blocks if now is not None and block.number <= now.number]
    sections = [
        f"# Working Memory: {one_line(name)} INR{_origin(blocks)}",
        f"## Paper Summary\n\n{_summary(blocks, judged)}",
        "\n".join(["## Knowledge Base\n\n### R2 Progression Table\n", _COLUMNS, *map(_row, judged)]),
        *_knowledge(judged),
        "---",
        f"## Previous Block Summary{_previous(begun, judged)}",
        "---",
        *_current_block(begun, judged),
    ]
    return with_notes("\n\n".join(sections) + "\n", notes_of(begun))


def _origin(blocks: Sequence[BlockView]) -> str:
    """The provenance of the newest result; empty where it is not known."""
    told = (words.origin(block, trial) for block in reversed(blocks) for trial in reversed(block.entries()))
    newest = next(filter(None, told), "")
    return f"\n\nProvenance: {newest}" if newest else ""


def snapshot_text(name: str, blocks: Sequence[BlockView], ended: int) -> str:
    """The memory as it was when block `ended` ended."""
    return memory_text(name, [replace(block, ended=True) for block in blocks if block.number <= ended])


def _summary(blocks: Sequence[BlockView], judged: Sequence[Judged]) -> str:
    best = [f"{one.n_frames} frames: {_best_words(one)}" for one in blocks if one.best is not None]
    found = statements(judged)
    levels = ", ".join(f"{sum(one.level is level for one in found)} {level}" for level in Level)
    told = [one for block in blocks for one in block.entries()]
    ways = sorted({one.plan.strategy for one in told if one.plan.strategy})
    optimization = "; ".join(best) or "[pending first results]"
    llm = "" if {AGENT, IMPORTED} & {*ways} else "no LLM took part; "
    exploration = (
        f"{llm}{len(told)} trials in {len(blocks)} block{'s' if len(blocks) > 1 else ''}, laid out by "
        f"{', '.join(ways) or 'hand'}; statements: {levels}"
        if told
        else "[pending first results]"
    )
    return f"- **INR optimization**: {optimization}\n- **LLM-driven exploration**: {exploration}"


def _row(judged: Judged) -> str:
    trial, metrics = judged.trial, judged.trial.metrics
    config = {short: words.number(trial.config[name]) for short, name in CONFIG.items()}
    if trial.config[WINDOW]:
        config["T_period"] += f" in windows of {trial.config[WINDOW]}"
    part = f" {trial.part}" if trial.part else ""
    cells = [
        trial.plan.iteration,
        trial.plan.n_training_frames,
        *(config[short] for short in ("hidden_dim", "n_layers", "omega", "lr", "batch_size", "T_period")),
        config["total_steps"],
        f"{words.r2(trial.final)}{part}" if trial.final is not None else str(trial.stage),
        words.number(metrics.get("sample_mse" if trial.part else "final_mse")),
        words.number(metrics.get("training_time_min"), 3),
        f"{words.mutation(trial, judged.parent)}: {judged.verdict.call}",
    ]
    return f"| {' | '.join(words.cell(value) for value in cells)} |"


def _knowledge(judged: Sequence[Judged]) -> list[str]:
    found = statements(judged)
    falsified = [
        f"Iteration {one.trial.plan.iteration}: {words.hypothesis(one.trial, one.parent)}. It has {one.verdict.why}"
        for one in judged
        if one.verdict.call is Call.falsified
    ]
    open_ = [f"{one} [{one.level}]" for one in found if one.level is not Level.established]
    return [
        "### Established Principles" + _bullets(one for one in found if one.level is Level.established),
        "### Falsified Hypotheses" + _bullets(falsified),
        "### Open Questions" + _bullets(open_),
    ]


def _previous(blocks: Sequence[BlockView], judged: Sequence[Judged]) -> str:
    if len(blocks) < 2:
        return ""
    block = blocks[-2]
    own = [one for one in judged if one.trial.plan.block == block.number]
    seeds = [_seeds(block, number, values) for number, values in block.validation.items()]
    lines = [
        f"Block {block.number}, n_training_frames {block.n_frames}: {len(own)} trials, {_counts(own)}",
        f"Best: {_best_words(block)}",
        *(f"Validation: {text}" for text in seeds),
        *map(str, statements(own)),
        *_asked(block),
    ]
    return _bullets(lines)


def _seeds(block: BlockView, number: int, values: Sequence[float]) -> str:
    trial = block.trial(number)
    where = f"of iteration {trial.plan.iteration} " if trial else ""
    part = f" {trial.part}" if trial and trial.part else ""
    return f"{len(values)} seeds {where}gave R2 {', '.join(map(words.r2, values))}{part}"


def _current_block(blocks: Sequence[BlockView], judged: Sequence[Judged]) -> list[str]:
    if not blocks:
        heads = ("## Current Block (Block 1)", "### Block Info", "### Hypothesis", "### Iterations This Block")
        return [*heads, _emerging()]
    block = blocks[-1]
    own = [one for one in judged if one.trial.plan.block == block.number]
    focus = ", ".join(_varied(block)) or "the starting config"
    end = f"\n\n{BLOCK_END}" if block.ended else ""
    noise = noise_before(blocks, block.number + 1 if block.ended else block.number)
    observations = [
        f"Best so far: {_best_words(block)}",
        *map(str, statements(own)),
        f"A difference counts from a factor of {noise.factor:.3g} in the unexplained variance on ({noise})",
        *(
            f"Iteration {one.plan.iteration} {words.result(one)}"
            for one in block.entries()
            if one.stage is Stage.failed
        ),
        *(f"Iteration {one.plan.iteration} {words.result(one)}" for one in block.trials if one.paused),
        *_asked(block),
    ]
    return [
        f"## Current Block (Block {block.number})",
        f"### Block Info\n\nFocus: {focus}\nn_training_frames: {block.n_frames}",
        f"### Hypothesis\n\n{_hypothesis(block, own)}",
        f"### Iterations This Block{_bullets(_iteration(one) for one in own)}{end}",
        _emerging() + _bullets(observations),
    ]


def _emerging() -> str:
    return f"### Emerging Observations\n\n{_GUARD}"


def _hypothesis(block: BlockView, own: Sequence[Judged]) -> str:
    """The hypotheses of the latest batch, one for each slot, and whether they have been judged."""
    batch = [trial for trial in block.trials if trial.plan.batch == block.trials[-1].plan.batch] if block.trials else []
    calls = {one.trial.number: str(one.verdict.call) for one in own}
    asked = [(trial, parent) for trial in batch if (parent := block.trial(trial.plan.parent))]
    hypotheses = [f"iteration {trial.plan.iteration}: {words.hypothesis(trial, parent)}" for trial, parent in asked]
    reasons = dict.fromkeys(filter(None, (words.rationale(trial) for trial, _ in asked)))
    falsifiers = [one_line(trial.plan.hypothesis.falsified_by) for trial, _ in asked if trial.plan.hypothesis]
    expected = "; ".join(dict.fromkeys(filter(None, falsifiers))) or f"one {_BELOW}"
    status = [f"iteration {trial.plan.iteration} {calls.get(trial.number, 'untested')}" for trial, _ in asked]
    return "\n".join(
        [
            f"**Hypothesis**: {'; '.join(hypotheses) or 'none; every config of the batch is a start of its own'}",
            f"**Rationale**: {' / '.join(reasons) or 'a first look, with nothing known yet'}",
            f"**Test**: iterations {', '.join(str(trial.plan.iteration) for trial in batch) or 'to be planned'}",
            f"**Expected outcome**: supported by a final R2 {_ABOVE}; falsified by {expected}",
            f"**Status**: {'; '.join(status) if calls.keys() & {trial.number for trial, _ in asked} else 'untested'}",
        ]
    )


def _iteration(judged: Judged) -> str:
    trial, verdict = judged.trial, judged.verdict
    what = f"{words.mutation(trial, judged.parent)}; {words.result(trial)}; {verdict.call}: {verdict.why}"
    return f"Iter {trial.plan.iteration} ({grade(trial.graded)}): {what}"


def _asked(block: BlockView) -> list[str]:
    return [f'A person asked "{one.line}": {one.answer}' for one in block.asked]


def _counts(own: Sequence[Judged]) -> str:
    return ", ".join(f"{sum(one.verdict.call is call for one in own)} {call}" for call in Call)


def _best_words(block: BlockView) -> str:
    best = block.best
    if best is None:
        return "no trial has finished"
    where = f"at iteration {best.plan.iteration} ({words.config_line(best)})"
    if best.plan.strategy == IMPORTED:
        return f"{words.kind_of_r2(best)} {words.r2(best.final)} {where}"
    final = block.final_r2(best)
    if final is None:
        return f"R2 {words.r2(best.final)} {best.part} {where}"
    promised = f", which had R2 {words.r2(best.final)} {best.part}" if best.part else ""
    solved = block.solved_r2
    cheapest = f", the cheapest of those with R2 {solved:g} or more" if solved is not None and final >= solved else ""
    return f"final R2 {words.r2(final)} {where}{promised}{cheapest}"


def _varied(block: BlockView) -> list[str]:
    """The names (last part) of the parameters that differ among the block's trials."""
    names = dict.fromkeys(name for trial in block.trials for name in changed(block.trials[0], trial))
    return [leaf(name) for name in names]


def _bullets(lines: Iterable[object]) -> str:
    """A bullet list below a heading; empty without lines."""
    texts = [f"- {one_line(line, 2000)}" for line in lines]
    return "\n\n" + "\n".join(texts) if texts else ""
