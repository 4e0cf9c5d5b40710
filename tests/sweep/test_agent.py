"""An agent as the proposer: whatever program it is, a batch is full, and what it wrote is data."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import agents
import optuna
import psutil
import pytest
from hydra import compose, initialize_config_dir
from optuna.trial import create_trial

from siren_sweep.config import parameters
from siren_sweep.config.compose import conf_dir, typed
from siren_sweep.paths import OutputPaths
from siren_sweep.search.policies import make_proposer
from siren_sweep.search.proposal import Proposal
from siren_sweep.search.space import Space
from siren_sweep.study.records import Block, Outcome, TrialPlan
from siren_sweep.study.stored import read_notes, write_block
from siren_sweep.study.stored_trials import trial_values
from siren_sweep.sweep.agent.folder import Refused
from siren_sweep.sweep.agent.parents import Known, child_of
from siren_sweep.sweep.agent.parsing import Stated, given_config, parse, placed, read_config, read_hypotheses
from siren_sweep.sweep.agent.program import MOST_BYTES, MOST_OUTPUT, filled
from siren_sweep.sweep.agent.proposer import AgentProposer
from siren_sweep.sweep.block import start_block
from siren_sweep.views.record.notes import notes_in, with_notes

OMEGA, RATE, WIDTH, WINDOW = parameters.OMEGA, parameters.RATE, parameters.HIDDEN_DIM, parameters.WINDOW
PYTHON = f"{sys.executable},-S,-E,{agents.__file__}"


class Asking:
    """A sweep's first block that asks a program for batches, without its training."""

    def __init__(self, folder: Path, program: str, *overrides: str) -> None:
        command = f"agent.command=[{PYTHON},{program},'{{prompt}}','{{folder}}']"
        with initialize_config_dir(conf_dir(), version_base="1.3"):
            given = ["blocks=tiny", "proposer=agent", command, f"outputs_dir={folder}", "sweep.name=s", *overrides]
            self.cfg = typed(compose("config", given))
        self.paths = OutputPaths(folder).sweep("s")
        self.paths.root.mkdir(parents=True)
        (self.paths.root / "secret.yaml").write_text("secret: words\n")
        self.start = start_block(self.cfg, 1, self.cfg.search_space.params, {}, None)
        self.study = optuna.create_study(direction="maximize")
        write_block(self.study, Block(1, self.start.n_training_frames, settings={"claude.ucb_c": 1.4}))
        self.batch, self.begins = 0, [self.start.base]
        self.later: dict[int, optuna.Study] = {}  # studies of later blocks

    @property
    def space(self) -> Space:
        return self.start.space

    @property
    def log(self) -> str:
        return (self.paths.agent / f"block_01_batch_{self.batch:03d}.log").read_text()

    def ask(self, n: int = 4, pending: Sequence[dict[str, Any]] = ()) -> list[Proposal]:
        self.batch += 1
        place, sampler = (1, self.batch), make_proposer(self.cfg, self.batch)
        studies = {1: self.study, **self.later}
        agent = AgentProposer(self.cfg, self.paths, (studies, {}), place, self.space, self.begins, sampler)
        return agent.propose(self.study, self.space.dimensions, n, pending=pending)

    def run(self, proposals: Sequence[Proposal], r2: Callable[[dict[str, Any]], float]) -> None:
        """Add them as trials that finished."""
        for slot, one in enumerate(proposals):
            number = len(self.study.trials)
            config = self.space.config(one.params)
            plan = TrialPlan(number + 1, config, 1, self.batch, slot, 4, parent=one.parent, hypothesis=one.hypothesis)
            outcome = Outcome(1, "finished", metrics={"final_r2": r2(config)})
            self.study.add_trial(
                create_trial(
                    value=r2(config),
                    params=one.params,
                    distributions=self.space.dimensions,
                    user_attrs=trial_values(plan, outcome, attempt=1),
                )
            )


def omegas(proposals: Sequence[Proposal]) -> list[float]:
    return [one.params[OMEGA] for one in proposals]


def assert_full(proposals: Sequence[Proposal], n: int = 4) -> None:
    """A batch of n different configs."""
    assert len({tuple(sorted(one.params.items())) for one in proposals}) == len(proposals) == n


def test_a_correct_agent_changes_omega_by_what_it_reads(tmp_path: Path) -> None:
    asking = Asking(tmp_path, "behave")
    first = asking.ask()
    assert "PARALLEL START" in asking.log
    assert omegas(first) == [20, 40, 10, 30]
    assert [(one.strategy, one.note) for one in first] == [("agent", "")] * 4
    assert [one.parent for one in first] == [None, 0, 0, 0]
    assert [one.mutation for one in first] == ["", *(f"omega_f: 20 -> {omega}" for omega in (40, 10, 30))]
    assert first[1].hypothesis is not None
    assert first[1].hypothesis.rationale == "omega_f 40 resolves more"
    assert (first[1].hypothesis.parameters, first[1].hypothesis.new) == ((OMEGA,), (40.0,))
    assert read_notes(asking.study) == {"Emerging Observations": "First look at omega. Verdict: supported"}
    asking.run(first, lambda config: 1 - abs(config[OMEGA] - 40) / 100)
    second = asking.ask()
    scores = asking.paths.agent / "folder" / "s_ucb_scores.txt"
    assert "Iterations 1-4 ran (block 1 of 2, n_training_frames 4)" in asking.log
    assert f"UCB scores: {scores}" in asking.log
    assert re.search(r"Node 2: UCB=[\d.]+, parent=1, visits=1, R2=1.000", scores.read_text())
    assert omegas(second) == [80, 60, 120, 28]
    assert [one.parent for one in second] == [1] * 4, "the best of those from which omega alone differs"
    assert "> First look at omega." in (scores.parent / "s_memory.md").read_text()


def test_an_agent_of_a_block_that_is_opened_again_is_told_of_that_block_and_no_later_one(tmp_path: Path) -> None:
    asking = Asking(tmp_path, "behave")
    asking.run(asking.ask(), lambda config: 1 - abs(config[OMEGA] - 40) / 100)
    later = optuna.create_study(direction="maximize")
    write_block(later, Block(2, 8, settings={"claude.ucb_c": 1.4}))
    plan = TrialPlan(5, asking.space.config(asking.start.base), 2, 1, 0, 8)
    outcome = Outcome(1, "finished", metrics={"final_r2": 0.777})
    later.add_trial(create_trial(value=0.777, user_attrs=trial_values(plan, outcome, attempt=1)))
    asking.later = {2: later}
    asking.ask()
    assert "Iterations 1-4 ran (block 1 of 2, n_training_frames 4)" in asking.log
    assert "R2=0.777" not in (asking.paths.agent / "folder" / "s_ucb_scores.txt").read_text()


@pytest.mark.parametrize(("solved", "told"), [("0.99", True), ("null", False)])
def test_the_instructions_say_which_solved_config_wins(solved: str, told: bool, tmp_path: Path) -> None:
    asking = Asking(tmp_path, "silent", "agent.retries=0", f"claude.solved_r2={solved}")
    asking.ask()
    text = (asking.paths.agent / "folder/s_instructions.md").read_text()
    assert ("reaches an R2 of 0.99: it is solved" in text) == told == ("the least arithmetic wins" in text)
    assert "{" not in text


def test_the_instructions_have_a_row_for_each_file_of_the_agent_s_folder(tmp_path: Path) -> None:
    asking = Asking(tmp_path, "silent", "agent.retries=0")
    asking.ask()
    text = (asking.paths.agent / "folder/s_instructions.md").read_text()
    table = text.split("## Files\n\n")[1].split("\n\n")[0].splitlines()
    assert {line.count(" | ") for line in table} == {2}
    for name in ("s_memory.md", "s_analysis.md", "s_ucb_scores.txt", "user_input.md", "s_03.yaml", "hypotheses.yaml"):
        assert sum(f"`{name}`" in line.split(" | ")[0] for line in table) == 1


def test_all_that_a_block_starts_from_is_given(tmp_path: Path) -> None:
    asking = Asking(tmp_path, "silent", "agent.retries=0")
    asking.begins = [asking.start.base, asking.start.base | {OMEGA: 44.0}]
    assert omegas(asking.ask())[:2] == [30, 44]
    assert asking.log.count("must be another config, and is that of s_00.yaml") == 2, "the other slots have the first"


def test_an_agent_gets_its_faults_and_can_correct_them(tmp_path: Path) -> None:
    asking = Asking(tmp_path, "learn")
    assert omegas(asking.ask()) == [10, 11, 12, 13]
    assert asking.log.count("s_02.yaml: omega_f must lie in 5 .. 1000 in this block, got 5000") == 2


WRONG = {
    "crash": (["s_00.yaml"], "it ended with exit code 3; is as it was given"),
    "same": (["s_00.yaml"], "must be another config, and is that of s_00.yaml"),
    "broken": ([], "must have no references (& and *)"),
    "forbid": (["s_03.yaml"], "training.n_training_frames must stay 4, got 100"),
    "link": (["s_03.yaml"], "must be a plain file"),
    "silent": (["s_00.yaml"], "must be another config, and is that of s_00.yaml"),
    "ask_for_a_path": (
        ["s_01.yaml", "s_02.yaml", "s_03.yaml"],
        "graph_model.omega_f must be a number, got '{folder}/..",
    ),
}


@pytest.fixture(scope="module", params=WRONG)
def wronged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Asking, list]:
    asking = Asking(tmp_path_factory.mktemp(request.param), request.param)
    return request.param, asking, asking.ask()


def test_the_sampler_replaces_what_an_agent_gets_wrong(wronged: tuple[str, Asking, list[Proposal]]) -> None:
    what, _, proposals = wronged
    own, reason = WRONG[what]
    assert_full(proposals)
    names = [f"s_{slot:02d}.yaml" for slot in range(4)]
    assert [name for name, one in zip(names, proposals, strict=True) if one.strategy == "agent"] == own
    notes = {name: one.note for name, one in zip(names, proposals, strict=True)}
    for name in names:
        head = f"the sampler's, in the place of the agent's {name}: "
        assert notes[name].startswith(head) is (name not in own)
    assert any(reason in note for note in notes.values()), notes


def test_an_agent_s_links_are_not_followed_and_no_text_is_filled_in(
    wronged: tuple[str, Asking, list[Proposal]],
) -> None:
    what, asking, proposals = wronged
    told = [asking.log, str(proposals), str(read_notes(asking.study))]
    assert not any("secret: words" in text or "root:x:" in text for text in told)
    if what == "ask_for_a_path":
        assert str(tmp := asking.paths.agent / "folder") in asking.log, "filled in where it was asked for"
        assert f"{tmp}/../../secret" not in asking.log
        assert "the environment: ['HOME', 'LANG', 'PATH']" in asking.log
        assert read_notes(asking.study) == {}, "what stands in a section of the sweep's is no note"
        assert "s_memory.md: what was changed outside of its free sections" in asking.log


def test_an_agent_that_hangs_is_killed_with_all_its_processes(tmp_path: Path) -> None:
    asking = Asking(tmp_path, "hang", "agent.timeout_min=0.03", "agent.retries=0")
    proposals = asking.ask()
    assert_full(proposals)
    assert omegas(proposals)[0] == 77, "what it had done by then is taken"
    assert "it ran longer than 0.03 minutes" in proposals[1].note
    left = [one for one in psutil.process_iter(["cmdline"]) if agents.__file__ in (one.info["cmdline"] or [])]
    assert left == []


def test_a_hundred_megabytes_fill_no_disk(tmp_path: Path) -> None:
    asking = Asking(tmp_path, "flood_output")
    assert omegas(asking.ask()) == [10, 11, 12, 13]
    assert MOST_OUTPUT < len(asking.log) < 1.1 * MOST_OUTPUT
    asking = Asking(tmp_path / "files", "flood_files", "agent.retries=0")
    proposals = asking.ask()
    assert_full(proposals)
    assert all("it wrote more than 100 MiB" in one.note for one in proposals)
    large = asking.paths.agent / "folder" / "large"
    assert not large.exists() or large.stat().st_size < 4 * MOST_BYTES


def test_what_has_run_and_what_a_person_asked_for_is_not_run_again(tmp_path: Path) -> None:
    asking = Asking(tmp_path, "same", "agent.retries=0")
    asked = {**asking.start.base, OMEGA: 50.0}
    proposals = asking.ask(3, pending=[asked])
    assert_full(proposals, 3)
    assert "s_01.yaml: must be another config, and is that of one that a person asked for" in proposals[0].note
    asking.run([Proposal(asked, "asked for"), *proposals], lambda _: 0.5)
    assert "is that of iteration 1" in asking.ask(1)[0].note


def test_a_space_without_configs_left_ends_the_batch(tmp_path: Path) -> None:
    fixed = [f"{name}=choice({value})" for name, value in ((RATE, 1e-3), (WIDTH, 8))]
    fixed += [f"graph_model.{name}=choice({value})" for name, value in (("n_layers_nnr_f", 1), ("nnr_f_xy_period", 8))]
    texts = dict(text.split("=", 1) for text in fixed) | {
        OMEGA: "choice(20, 30, 40)",
        "training.inr_batch_size": "choice(4)",
    }
    asking = Asking(tmp_path, "same", "agent.retries=0")
    asking.start = start_block(asking.cfg, 1, texts, {}, None)
    proposals = asking.ask()
    assert sorted(omegas(proposals)) == [20, 30, 40]
    assert all(one.parent is None or one.parent < 3 for one in proposals)


@pytest.fixture(scope="module")
def windowed() -> Space:
    """A space in which T_period and total_steps follow the windows."""
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = typed(compose("config", ["blocks=full"]))
    return start_block(cfg, 3, cfg.search_space.params | cfg.search_space.params_from[250], {}, None).space


def test_a_config_is_a_point_of_the_space_and_back(windowed: Space) -> None:
    names = windowed.dimensions
    rng = optuna.samplers.RandomSampler(seed=1)
    study = optuna.create_study(sampler=rng)
    for _ in range(50):
        params = study.ask(names).params
        config = windowed.config(params)
        back = placed(config, windowed, [params])
        assert back == params
        assert windowed.config(placed(config, windowed, [])) == pytest.approx(config, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({OMEGA: 2.0}, "omega_f must lie in 5 .. 1000 in this block, got 2"),
        ({WINDOW: 100}, "window_frames must be one of 0, 62, 125, 250 in this block, got 100"),
        (
            {WINDOW: 125},
            "nnr_f_T_period must lie in 0.416667 .. 125 in this block, got 1000 with windows of 125 frames",
        ),
        ({WIDTH: 65}, "hidden_dim_nnr_f must be one of 64, 96, 128, 256 in this block, got 65"),
    ],
)
def test_what_is_beyond_the_space_is_told_with_the_rule(windowed: Space, change: dict, fault: str) -> None:
    base = windowed.config(windowed.nearest(parameters.defaults() | {parameters.T_PERIOD: 1000.0, OMEGA: 20.0}))
    with pytest.raises(Refused) as told:
        placed(base | change, windowed, [])
    assert fault in told.value.lines


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("  omega_f: true", "graph_model.omega_f must be a number, got True"),
        ("  omega_f: [30]", "graph_model.omega_f must be a number, got [30]"),
        ("  omega_f: .nan", "graph_model.omega_f must be a finite number, got nan"),
        ("  omega_f: 0x" + "f" * 9000, "graph_model.omega_f must be a number, got a number of too many digits"),
        ("  omega_f:", "graph_model.omega_f must be a number, got None"),
        ("  omega: 30", "graph_model.omega_f must be given, and is missing"),
        ("  omega: 30", "graph_model.'omega' must not be added"),
        ("  omega_f: 30\n  inr_type: siren_x", "must have each key once, got 'inr_type' twice"),
        ("  omega_f: !!python/object/apply:os.getcwd []", "must be YAML (could not determine a constructor"),
    ],
)
def test_a_config_holds_numbers_and_nothing_else(windowed: Space, line: str, fault: str) -> None:
    given = given_config(parameters.defaults() | {OMEGA: 33.0}, windowed)
    text = re.sub("(?m)^  omega_f: 33.0$", line.replace("\\", r"\\"), _yaml(given))
    with pytest.raises(Refused) as told:
        read_config(text, given, windowed)
    assert any(one.startswith(fault) for one in told.value.lines), told.value.lines


def _yaml(values: dict[str, dict[str, Any]]) -> str:
    return "".join(
        f"{name}:\n" + "".join(f"  {key}: {value}\n" for key, value in group.items()) for name, group in values.items()
    )


@pytest.mark.parametrize(
    "text", ["[" * 16000, "- " * 8000, "? " * 8000, "{a: " * 4000, "a: 1\n---\nb: 2", "a: 2020-99-99"]
)
def test_no_text_keeps_the_sweep_busy_or_breaks_it(text: str) -> None:
    with pytest.raises(Refused, match="must be YAML"):
        parse(text)


def test_hypotheses_are_text_of_bounded_length() -> None:
    text = f"'00': {'x' * 9000}\n1: {{hypothesis: why, falsified_by: how, parent: 3}}\n"
    text += "s_02.yaml: {parent: 1.5}\n7: late\n"
    found, wrong = read_hypotheses(text, [0, 1, 2])
    assert (len(found[0].hypothesis), found[1]) == (500, Stated("why", "how", 3))
    assert [line.partition(":")[0] for line in wrong] == ["'s_02.yaml'", "7"]


PARENTS = [
    Known(4, 5, {"a": 1, "b": 1, "c": 1, "d": 1}, 0.5, "iteration 5"),
    Known(5, 6, {"a": 1, "b": 2, "c": 1, "d": 1}, 0.9, "iteration 6"),
]
FREE = {name: optuna.distributions.IntDistribution(1, 9) for name in "abcd"}


@pytest.mark.parametrize(
    ("params", "stated", "parent", "note"),
    [
        ({"a": 2, "b": 1, "c": 1, "d": 1}, None, 4, ""),
        ({"a": 1, "b": 3, "c": 1, "d": 1}, None, 5, ""),  # as near to both: the better one
        ({"a": 1, "b": 3, "c": 1, "d": 1}, 5, 4, ""),  # as near to both: the stated one
        (
            {"a": 2, "b": 2, "c": 1, "d": 1},
            5,
            5,
            "the agent named iteration 5 as its parent, from which 2 parameters differ",
        ),
        (
            {"a": 2, "b": 2, "c": 1, "d": 1},
            9,
            5,
            "the agent named iteration 9 as its parent, which is not in this block",
        ),
        ({"a": 9, "b": 9, "c": 9, "d": 1}, None, None, ""),  # more than half: a start of its own
    ],
)
def test_a_parent_follows_from_the_configs(params: dict, stated: int | None, parent: int | None, note: str) -> None:
    found = child_of(params, Stated("why", "", stated), PARENTS, FREE, "agent")
    assert found.parent == parent
    assert found.note.startswith(note)
    assert bool(found.note) is bool(note)
    assert found.hypothesis is not None
    assert found.hypothesis.rationale == "why"


MEMORY = """\
# M

## Paper Summary

- ours

### Established Principles

- ours too

---

### Emerging Observations

- last
"""


def test_notes_come_back_from_where_they_were_written() -> None:
    notes = {"Paper Summary": "mine\n# as I like", "Emerging Observations": "yours"}
    text = with_notes(MEMORY, notes)
    assert "> mine\n> # as I like\n" in text
    assert notes_in(text, MEMORY) == (notes, False)
    assert notes_in(text, text) == (notes, False)
    edited = text.replace("- ours\n", "- theirs\n").replace("> yours", "yours again")
    found = {"Paper Summary": "- theirs\nmine\n# as I like", "Emerging Observations": "yours again"}
    assert notes_in(edited, text) == (found, False)


def test_what_is_written_into_the_ledger_is_no_note() -> None:
    notes, elsewhere = notes_in(MEMORY.replace("- ours too", "- Verdict: supported"), MEMORY)
    assert (notes, elsewhere) == ({}, True)
    long = notes_in(MEMORY + "\n".join("x" * 900 for _ in range(900)), MEMORY)[0]["Emerging Observations"]
    assert len(long) <= 20_000


def test_placeholders_are_replaced_only_once() -> None:
    assert filled(["-p", "{prompt} in {folder}"], {"prompt": "see {folder}", "folder": "/x"}) == [
        "-p",
        "see {folder} in /x",
    ]


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (f"[{sys.executable},'{{path}}']", "agent.command may hold only {prompt} and {folder}"),
        ("[no_such_program]", "agent.command must begin with a program that can be run, got 'no_such_program'"),
    ],
)
def test_a_command_that_cannot_run_is_told_at_the_start(
    command: str, fault: str, told_here: Callable[..., str], own_data: list[str]
) -> None:
    assert fault in told_here("-m", "blocks=tiny", *own_data, "proposer=agent", f"agent.command={command}")


def test_the_example_keeps_a_block_s_starts_and_climbs_from_the_best(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples/agent.py"
    asking = Asking(tmp_path, "behave", f"agent.command=[{sys.executable},{example}]")
    asking.begins = [asking.start.base, asking.start.base | {OMEGA: 5.0}]
    first = asking.ask()
    assert omegas(first) == [30, 5, 60, 30]
    assert first[3].params[RATE] == 2 * first[0].params[RATE]
    asking.run(first, lambda config: 1 - abs(config[OMEGA] - 220) / 1000)
    for _ in range(2):
        planned = asking.ask()
        assert [(one.strategy, one.note) for one in planned] == [("agent", "")] * 4
        assert_full(planned)
        asking.run(planned, lambda config: 1 - abs(config[OMEGA] - 220) / 1000)
    assert max(omegas(planned)) == 240
    assert planned[0].hypothesis is not None
    assert planned[0].hypothesis.rationale == "omega_f 120 -> 240 improves final_r2."
    assert "The best is iteration 5, R2 0.9" in read_notes(asking.study)["Emerging Observations"]
