"""An old loop's log becomes studies; what cannot be read is told line by line."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from conftest import Run
from fields import make_field_folder
from optuna.trial import TrialState
from planted import CONFIG, OMEGA, RATE, PlantedSweep, config_of
from untrained import run

from siren_sweep.config import parameters
from siren_sweep.config.choices import Strategy
from siren_sweep.config.schema import Block, Config, SweepName
from siren_sweep.errors import DataError, SweepStateError
from siren_sweep.field.stimulus_field import open_field
from siren_sweep.paths import SweepPaths
from siren_sweep.search.sampler import UCBTreeSampler
from siren_sweep.search.space import make_space
from siren_sweep.search.strategy import plan_batch
from siren_sweep.study.import_log import import_log
from siren_sweep.study.log_parser import parse_log
from siren_sweep.study.studies import all_blocks, open_folder, open_storage
from siren_sweep.sweep import warm_start
from siren_sweep.sweep.lock import locked
from siren_sweep.sweep.warm_start import earlier_study
from siren_sweep.train.siren import Siren
from siren_sweep.views.blocks import read_blocks
from siren_sweep.views.frames import compare, open_sweep
from siren_sweep.views.record.writer import record_files, write_record

LOG = """\
# Experiment Log: flyvis_noise_005

Some words before it begins, final_r2=0.1.

## Iter 1: good
Node: id=1, parent=root
Hypothesis tested: "omega_f decides, as final_r2=0.99 elsewhere shows"
Config: hidden_dim=128, n_layers=5, omega=80, lr=1e-4, batch_size=8, T_period=10, total_steps=5000, n_frames=10
Metrics: final_r2=0.85, final_mse=3e-3, training_time_min=4.1, total_params=1,234,567, rank_90=2, rank_99=9
Mutation: none
Verdict: inconclusive
Observation: better than final_r2=0.2, id=7
Next: parent=1

## Iter 2: poor
**Node**: id=2, parent=1
Config: hidden_dim=128, n_layers=5, omega=80, lr=3e-3, batch_size=8, T_period=10, total_steps=5000, n_frames=10
Metrics: final_r2=-0.25, final_mse=n/a
Mutation: learning_rate_NNR_f: 1e-4 -> 3e-3
A remark that quotes final_r2=0.77 and parent=9.
Next: parent=1

## Iter 3: moderate
Node: id=3, parent=2
Config: omega=160, n_frames=10
Metrics: final_r2=0.61, final_r2=0.9
Mutation: omega_f: 80 -> 160, nnr_f_xy_period: 1.0 -> 8.0

>>> BLOCK END <<<

## Iter 5: poor
Node: id=5, parent=3
Config: hidden_dim=128, n_layers=5, omega=80, lr=1e-4, batch_size=8, T_period=100, total_steps=10000, n_frames=100
Metrics: final_r2=nan

## Iter 6: good
Config: hidden_dim=wide, n_frames=100

## Iter 7: good
Config: hidden_dim=128, n_layers=5, omega=-3, lr=1e-4, batch_size=8, T_period=100, total_steps=10000, n_frames=100
Metrics: final_r2=0.9

## Iter 8: excellent
Config: hidden_dim=128, n_layers=5, omega=80, lr=1e-4, batch_size=8, T_period=100, total_steps=10000, n_frames=100
Metrics: final_r2=95

## Iter 5: excellent
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "old_analysis.md").write_text(LOG)
    return tmp_path / "old_analysis.md"


@pytest.fixture
def blocks(log: Path) -> dict[int, optuna.Study]:
    import_log(log, log.parent / "imported")
    return open_folder(log.parent / "imported")[2]


OLD = config_of(hidden_dim=128, n_layers=5, omega=20.0, T_period=10.0, lr=1e-4, batch_size=8, total_steps=5000)


def test_each_number_of_frames_is_a_block_of_finished_trials(blocks: dict[int, optuna.Study]) -> None:
    assert {number: study.user_attrs["n_training_frames"] for number, study in blocks.items()} == {1: 10, 2: 100}
    assert [trial.value for trial in blocks[1].trials] == [0.85, -0.25, 0.61]
    assert [trial.state for trial in blocks[2].trials] == [TrialState.FAIL]


def test_numbers_are_read_from_their_own_line_and_in_every_notation(blocks: dict[int, optuna.Study]) -> None:
    first, second, third = (trial.user_attrs for trial in blocks[1].trials)
    assert first["outcome"]["metrics"]["final_mse"] == 3e-3
    assert first["outcome"]["metrics"]["total_params"] == 1234567
    assert second["config"][RATE] == 3e-3
    assert [one["parent"] for one in (first, second, third)] == [None, 0, 1]


def test_what_a_config_line_lacks_comes_from_the_mutation_and_else_is_unknown(blocks: dict[int, optuna.Study]) -> None:
    trial = blocks[1].trials[2]
    config = trial.user_attrs["config"]
    assert (config[OMEGA], config[parameters.XY_PERIOD], config[parameters.WINDOW]) == (160.0, 8.0, 0)
    unknown = {name for name, value in config.items() if value is None}
    assert unknown == {*parameters.EXPLORABLE} - {OMEGA, parameters.XY_PERIOD, parameters.WINDOW}
    assert trial.params.keys() == config.keys() - unknown


def test_unknown_values_are_shown_as_unknown_and_prove_nothing(blocks: dict[int, optuna.Study], log: Path) -> None:
    folder = log.parent / "imported"
    trials = open_sweep(folder).trials
    assert trials.hidden_dim_nnr_f.isna().tolist() == [False, False, True, False]
    assert trials.batch.isna().all()
    assert trials.slot.isna().all()
    assert compare([folder]).cost.isna().tolist() == [True, False]
    text = record_files("imported", read_blocks(blocks, {}))["imported_analysis.md"]
    entry = text.partition("## Iter 3")[2].partition("## Iter")[0]
    assert "hidden_dim=nan" in entry
    assert "Verdict: inconclusive\nObservation: squared correlation (of the old loop) 0.61; hidden_dim_nnr_f" in entry
    assert "is not known of it or of its parent" in entry
    assert "its parent, iteration 3, is of another block" in text.partition("## Iter 5")[2].partition("## Iter")[0]


@pytest.mark.parametrize(
    ("text", "told_of"),
    [
        ("Config: hidden=64, omega=2, n_frames=10", "hidden is not a known name of a Config line"),
        ("Config: hidden_dim: 64, omega=2, n_frames=10", "must be name=number, ..., got 'hidden_dim: 64'"),
        ("Config: omega=2, omega=3, n_frames=10", "omega stands in the line twice; the first one counts"),
        ("Config: omega=2, n_frames=10\nConfig: omega=3", "a second Config line of iteration 1; the first one counts"),
        ("Config: omega=1_000, n_frames=10", "omega must be a number, got '1_000'"),
        ("Config: omega=2, n_frames=10\nNode: id=7, parent=root", "id is 7 in the entry of 1"),
        ("Config: omega=2, n_frames=10\nNode: id=1, parent=somebody", "parent somebody is no earlier entry"),
        ("Config: omega=2, n_frames=10\nMutation: omega_f: 1 -> 4", "omega_f is 4 here and 2 in the Config line"),
        ("Config: omega=2, n_frames=10\nMutation: width: 1 -> 4", "width is not a known parameter"),
        ("Config: omega=2, n_frames=10\nMutation: total_steps: 1 -> 1,5", "total_steps must be a number, got '1,5'"),
        ("Config: omega=2, n_frames=10\n## Iter five", "must begin with \"## Iter N\", got '## Iter five'"),
        ("Config: omega=2, n_frames=10\n# End\nMetrics: final_r2=1", "is outside of any entry: Metrics: final_r2=1"),
        ("Config: omega=2, n_frames=10\nObservation: \ufffd", "has bytes that are not UTF-8"),
    ],
)
def test_each_line_of_an_entry_that_is_not_read_is_reported(text: str, told_of: str) -> None:
    entries, unread = parse_log(f"## Iter 1: good\nMetrics: final_r2=0.5\n{text}\n")
    assert len(entries) == 1
    assert any(told_of in line for line in unread), unread


def test_a_grouped_number_of_a_mutation_is_read_whole() -> None:
    line = "Mutation: total_steps: 5,000 -> 10,000, omega_f: 80 -> 160,batch_size: 8 -> 16"
    ((entry,), unread) = parse_log(f"## Iter 1: good\nConfig: n_frames=10\nMetrics: final_r2=0.5\n{line}\n")
    named = (parameters.TOTAL_STEPS, OMEGA, parameters.BATCH_SIZE)
    assert [entry.config[name] for name in named] == [10_000, 160.0, 16]
    assert unread == []


def test_the_period_of_a_window_is_a_ratio_to_its_frames(tmp_path: Path) -> None:
    config = "Config: window_frames=125, T_period=25, n_frames=1000"
    (tmp_path / "old.md").write_text(f"## Iter 1: good\n{config}\nMetrics: final_r2=0.5\n")
    import_log(tmp_path / "old.md", tmp_path / "s")
    (trial,) = open_folder(tmp_path / "s")[2][1].trials
    assert trial.params[parameters.T_PERIOD_RATIO] == 5.0


def test_what_cannot_be_read_is_listed_line_by_line() -> None:
    entries, unread = parse_log(LOG)
    assert [entry.iteration for entry in entries] == [1, 2, 3, 5]
    lines = LOG.splitlines()
    told_of = {lines[int(one.split(":")[0].removeprefix("line ")) - 1].split(":")[0] for one in unread}
    assert {"Metrics", "A remark that quotes final_r2=0.77 and parent=9.", "Config"} <= told_of
    text = "\n".join(unread)
    for piece in (
        "got 'n/a'",
        "got 'wide'",
        "6 is left out: it has no final_r2",
        "omega_f must be greater than 0",
        "twice",
    ):
        assert piece in text


def test_the_command_prints_what_it_read_and_what_not(log: Path, run_here: Run) -> None:
    result = run_here("import", str(log), "--sweep-folder", str(log.parent / "imported"))
    assert result.returncode == 0, result.stderr
    assert "10 frames: 3 trials, 3 with a final_r2" in result.stdout
    assert "old_analysis.md: n_layers_nnr_f is told of" not in result.stdout
    report = (log.parent / "imported" / "report.html").read_text()
    assert "An imported log has no models." in report
    assert ">squared correlation (of the old loop)</th>" in report
    assert "last one ended" not in report, "it was the import that ended now"
    assert (log.parent / "imported" / "record" / "imported_analysis.md").is_file()
    assert "line 18: final_mse must be a number, got 'n/a'" in result.stdout


def test_a_mistake_is_one_message(told_here: Callable[..., str]) -> None:
    assert "none.md" in told_here("import", "none.md", "--sweep-folder", "out")


def test_a_file_that_is_no_log_is_reported(tmp_path: Path) -> None:
    (tmp_path / "empty.md").write_bytes(b"\xff\x00 no log")
    with pytest.raises(DataError, match="must hold entries"):
        import_log(tmp_path / "empty.md", tmp_path / "out")
    with pytest.raises(DataError, match="can be read"):
        import_log(tmp_path / "none.md", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_imported_over_a_sweep(log: Path) -> None:
    import_log(log, log.parent / "imported")
    with pytest.raises(SweepStateError, match=r"study\.db"):
        import_log(log, log.parent / "imported")


def test_an_imported_log_has_a_record(blocks: dict[int, optuna.Study]) -> None:
    files = record_files("imported", read_blocks(blocks, {}))
    assert "Best: squared correlation (of the old loop) 0.85 at iteration 1" in files["imported_memory.md"]
    assert "Observation: squared correlation (of the old loop) 0.85" in files["imported_analysis.md"]
    assert "Mutation: learning_rate_NNR_f: 0.0001 -> 0.003\nVerdict: falsified\n" in files["imported_analysis.md"]


def test_the_record_of_a_sweep_is_read_back_as_it_was(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path / "planted")
    sweep.begin(1)
    sweep.batch(1, [{"score": 5.0}, {"score": -0.3, "parent": 0, "changes": {OMEGA: 40.0}}, {"state": TrialState.FAIL}])
    write_record(sweep.paths, sweep.studies, {})
    entries, unread = parse_log((sweep.paths.record / "planted_analysis.md").read_text())
    assert [(entry.iteration, entry.parent) for entry in entries] == [(1, None), (2, 1), (3, None)]
    for entry, trial in zip(entries, sweep.studies[1].trials, strict=True):
        assert entry.final_r2 == (pytest.approx(trial.value) if trial.value is not None else None)
        known = {name: value for name, value in trial.user_attrs["config"].items() if "xy_period" not in name}
        assert {name: entry.config[name] for name in known} == pytest.approx(known)
    assert unread == []


OLD_CONFIG = """\
dataset: flyvis_noise_005
graph_model: {{signal_model_name: x, omega_f: {omega}, n_layers_nnr_f: 3, nnr_f_xy_period: 4.0}}
training: {{learning_rate_NNR_f: 1e-4, n_epochs: 1}}
"""
SCORES = """\
=== UCB Scores (Simulation block 1, iters 1-3, N=3, c=1.414) ===

Node 1: UCB=1.532, parent=root, visits=3, R2=0.850, Time=4.1, Mutation=none
Node 5: UCB=1.5, parent=2, visits=1, R2=0.300, Time=4.1, Mutation=none
Node 3: UCB=1.0, parent=1, visits=1, R2=0.910, Time=nan, Mutation=omega_f: 80 -> 160
Node 2: UCB=1.0, parent=1, visits=1, R2=high, Time=nan, Mutation=none
what is this
"""


@pytest.fixture
def old_folder(log: Path) -> Path:
    """A log, configs of some iterations, one of them broken, and the scores of the tree."""
    folder = log.parent / "old loop"
    (folder / "config").mkdir(parents=True)
    log.rename(folder / "old_analysis.md")
    for iteration, omega in ((1, "80.0"), (3, "170"), (9, "80")):
        text = OLD_CONFIG.format(omega=omega)
        (folder / "config" / f"iter_{iteration:03d}_slot_00.yaml").write_text(text)
    (folder / "config" / "iter_002_slot_01.yaml").write_text("graph_model: [")
    (folder / "old_ucb_scores.txt").write_text(SCORES)
    (folder / "config" / "results.log").write_text("final_r2: 0.5")
    return folder


def test_a_folder_s_configs_count_and_what_differs_is_told_by_file_and_line(old_folder: Path, tmp_path: Path) -> None:
    entries, unread = import_log(old_folder, tmp_path / "imported")
    assert [entry.iteration for entry in entries] == [1, 2, 3, 5]
    first, second, third, _ = (entry.config for entry in entries)
    assert (first[parameters.N_LAYERS], first[parameters.XY_PERIOD]) == (3, 4.0)
    assert (third[OMEGA], third[RATE], third[parameters.HIDDEN_DIM]) == (170.0, 1e-4, None)
    assert second[parameters.XY_PERIOD] is None
    told_lines = [
        "old_analysis.md, line 8: n_layers_nnr_f is 5 here and 3 in config/iter_001_slot_00.yaml, which is taken",
        "old_analysis.md, line 25: omega_f is 160 here and 170 in config/iter_003_slot_00.yaml, which is taken",
        "old_analysis.md, line 18: final_mse must be a number, got 'n/a'",
        "old_ucb_scores.txt, line 5: parent 1, and 2 in the log, which is taken",
        "old_ucb_scores.txt, line 5: R2 0.91, and 0.61 in the log, which is taken",
        "old_ucb_scores.txt, line 6: R2 must be a number, got 'high'",
        "old_ucb_scores.txt, line 7: not a line of a node: what is this",
        "config/iter_009_slot_00.yaml: the log has no entry of iteration 9 that was read",
        "old_analysis.md, line 15: iteration 2 has no value of nnr_f_xy_period",
        "files of other kinds, which are not read: config/results.log",
    ]
    for line in told_lines:
        assert line in unread, unread
    assert any(line.startswith("config/iter_002_slot_01.yaml: base must be a YAML file") for line in unread)


def test_weights_are_evaluated_again_where_the_data_are_at_hand(old_folder: Path, tmp_path: Path) -> None:
    data = make_field_folder(tmp_path / "field", n_frames=10)
    config = parameters.defaults() | {parameters.N_LAYERS: 3, parameters.T_PERIOD: 10.0, parameters.XY_PERIOD: 4.0}
    torch.manual_seed(1)
    model = Siren(128, 3, 80.0)
    (old_folder / "models").mkdir()
    torch.save(model.state_dict(), old_folder / "models" / "iter_001_slot_00.pt")
    torch.save({"net.0.linear.weight": torch.zeros(3)}, old_folder / "models" / "iter_002.pt")
    torch.save(model.state_dict(), old_folder / "models" / "best.pt")
    torch.save(model.state_dict(), old_folder / "models" / "iter_005.pt")
    known = {parameters.XY_PERIOD: 1.0}
    _, unread = import_log(old_folder, tmp_path / "without", data, n_neurons=152)
    assert "models/iter_002.pt: cannot be evaluated: nnr_f_xy_period of its config is unknown" in unread
    entries, unread = import_log(old_folder, tmp_path / "imported", data, n_neurons=152, known=known)
    field = open_field(data, n_frames=10, n_input_neurons=152, cache_dir=None)
    t, x, y = np.repeat(np.arange(10), 19), *np.tile(field.positions.T, 10)
    scales = (config[parameters.T_PERIOD], config[parameters.XY_PERIOD], config[parameters.XY_PERIOD])
    inputs = np.stack([values * 2 * np.pi / scale for values, scale in zip((t, x, y), scales, strict=True)], 1)
    error = model(torch.from_numpy(inputs)).detach().numpy().reshape(10, 19) - field.targets
    r2 = 1 - (np.square(error) @ field.multiplicity).sum() / field.sst
    found = re.fullmatch(
        r"the weights in models/iter_001_slot_00\.pt have R2 (\S+) over all 10 frames .*", entries[0].notes[-1]
    )
    assert found is not None
    assert float(found[1]) == pytest.approx(r2, rel=1e-4)
    assert any(
        line.startswith("models/iter_002.pt: must be a state dict of 5 hidden layers of width") for line in unread
    )
    assert "models/best.pt: weights must have one iter_NNN in their name, each iteration one file" in unread
    assert entries[0].final_r2 == 0.85, "the log's figures stay comparable with one another"
    studies = open_folder(tmp_path / "imported")[2]
    assert entries[0].notes[-1] in record_files("imported", read_blocks(studies, {}))["imported_analysis.md"]


def test_a_folder_of_no_log_or_of_two_is_told(old_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold one .*got none"):
        import_log(old_folder / "config", tmp_path / "imported")
    (old_folder / "config" / "b_analysis.md").write_text("")
    with pytest.raises(DataError, match=r"got config/b_analysis\.md, old_analysis\.md"):
        import_log(old_folder, tmp_path / "imported")


def test_a_record_s_folder_is_read_back_as_it_was(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path / "planted")
    sweep.begin(1)
    sweep.batch(1, [{"score": 1.0}, {"score": 2.0, "parent": 0, "changes": {OMEGA: 33.333333333}}])
    write_record(sweep.paths, sweep.studies, {})
    entries, unread = import_log(sweep.paths.record, tmp_path / "imported")
    assert unread == []
    assert [entry.config for entry in entries] == [CONFIG, CONFIG | {OMEGA: 33.333333333}]
    assert [entry.parent for entry in entries] == [None, 1]
    log = sweep.paths.record / "planted_analysis.md"
    log.write_text(log.read_text().replace("Node: id=2, parent=1", "Node: id=2"))
    entries, unread = import_log(sweep.paths.record, tmp_path / "again")
    assert ([entry.parent for entry in entries], unread) == ([None, 1], []), "as the scores say"


def test_imported_trials_within_a_space_serve_a_sweep(blocks: dict[int, optuna.Study], log: Path) -> None:
    base = CONFIG | {
        parameters.HIDDEN_DIM: 128,
        parameters.N_LAYERS: 5,
        parameters.XY_PERIOD: 1.0,
        parameters.BATCH_SIZE: 8,
    }
    params = {
        OMEGA: "tag(log, interval(5, 4096))",
        RATE: "tag(log, interval(1e-8, 1e-3))",
        "T_period_ratio": "choice(1.0)",
    }
    space = make_space(Block(10, 5000), params, base | {parameters.TOTAL_STEPS: 5000}, set())
    assert earlier_study(blocks[1], space).trials == [], "whether the space has them, the log does not say"
    import_log(log, log.parent / "known", known={parameters.XY_PERIOD: 1.0})
    study = earlier_study(open_folder(log.parent / "known")[2][1], space)
    assert [(trial.value, trial.params[OMEGA]) for trial in study.trials] == [(0.85, 80.0)]


def planted_log(best: float) -> str:
    """48 trials at 10 frames whose R2 peaks at one omega_f."""
    entries = []
    for index, omega in enumerate(np.geomspace(5, 4000, 48)):
        r2 = 0.97 - 0.1 * math.log10(omega / best) ** 2
        entries.append(
            f"## Iter {index + 1}: good\nConfig: hidden_dim=128, n_layers=5, omega={omega:.4g}, lr=1e-4, batch_size=8, "
            f"T_period=10, total_steps=5000, n_frames=10\nMetrics: final_r2={r2:.6f}\nMutation: none\n"
        )
    return "\n".join(entries)


def test_a_sweep_starts_where_a_log_was_best_and_its_model_knows_the_log(tmp_path: Path) -> None:
    (tmp_path / "old_analysis.md").write_text(planted_log(1500.0))
    import_log(tmp_path / "old_analysis.md", tmp_path / "old", known={parameters.XY_PERIOD: 1.0})
    storage = open_storage(None, SweepPaths(make(tmp_path / "new")))
    warm_start.adopt(storage, tmp_path / "old")
    (tmp_path / "old" / "study.db").unlink()
    warm_start.adopt(storage, tmp_path / "old")  # a resumed sweep needs the folder no more
    space = make_space(Block(10, 5000), {OMEGA: "tag(log, interval(5, 4096))"}, OLD, set())
    known = warm_start.earlier(storage, space)
    assert [len(study.trials) for study in known] == [48]
    best = warm_start.best_known(known)
    assert best is not None
    assert best[OMEGA] == pytest.approx(1500, rel=0.1)
    study = optuna.create_study(direction="maximize")
    study.set_user_attr("n_training_frames", 10)
    for earlier, near in ((known, True), ([], False)):
        options = {"strategy": Strategy.auto, "base": space.nearest(OLD), "earlier": earlier}
        proposals = UCBTreeSampler(0).propose(study, space.dimensions, 4, earlier=earlier)
        assert (proposals[0].params[OMEGA] == pytest.approx(1500, rel=0.5)) == near
        first = plan_batch(study, space.dimensions, UCBTreeSampler(0), 4, carried=[best] if earlier else [], **options)[
            0
        ]
        assert (first.params == best) == near
    assert all_blocks(storage) == {}  # nothing of it is a result of the sweep


def test_a_log_at_other_frames_counts_by_its_ratio(tmp_path: Path) -> None:
    text = planted_log(1500.0).replace("n_frames=10", "n_frames=100").replace("T_period=10", "T_period=50")
    (tmp_path / "old_analysis.md").write_text(text)
    import_log(tmp_path / "old_analysis.md", tmp_path / "old", known={parameters.XY_PERIOD: 1.0})
    params = {OMEGA: "tag(log, interval(5, 4096))", "T_period_ratio": "choice(1.0, 2.0)"}
    space = make_space(Block(10, 5000), params, OLD, set())
    study = earlier_study(open_folder(tmp_path / "old")[2][1], space)
    assert {trial.params["T_period_ratio"] for trial in study.trials} == {2.0}


@pytest.mark.parametrize(
    ("more", "why"), [([], "must name a folder with a study.db"), (["sampler=random"], "needs sampler=ucb_tree")]
)
def test_a_wrong_place_to_learn_from_is_told_before_a_start(
    more: list[str], why: str, told_here: Callable[..., str], own_data: list[str]
) -> None:
    assert why in told_here("-m", "blocks=tiny", *own_data, "sweep.learn_from=nowhere", *more)


def test_a_sweep_that_has_begun_on_a_server_needs_the_folder_no_more(tmp_path: Path) -> None:
    """Its folder holds no study, but the lock that it has held."""
    cfg, paths = Config(sweep=SweepName(learn_from=str(tmp_path / "gone"))), SweepPaths(tmp_path / "s")
    cfg.sampler = {"_target_": "siren_sweep.search.sampler.UCBTreeSampler"}
    assert "must name a folder with a study.db" in str(warm_start.fault(cfg, paths))
    with locked(paths):
        pass
    assert warm_start.fault(cfg, paths) is None


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_random_logs_raise_nothing() -> None:
    rng = random.Random(0)
    pieces = [
        *LOG.splitlines(keepends=True),
        *"=,;:*#->\n\t \0\u2028\u0663",
        "## Iter ",
        "9" * 30,
        "1e999",
        "-inf",
        "nan",
    ]
    pieces += [
        "Config: ",
        "Metrics: final_r2=",
        "Mutation: omega_f: ",
        "n_frames=2",
        "parent=",
        "aaaa" * 50,
        "1,000,00",
    ]
    for _ in range(10_000):
        parse_log("".join(rng.choices(pieces, k=rng.randrange(40))))


def test_a_line_of_any_length_is_read_or_told() -> None:
    for piece in ("a", "a=", " ", "a=1, ", "*"):
        assert parse_log(f"## Iter 1: good\nMetrics: {piece * 100_000}\n")[0] == []


MEMORY = """\
# Working Memory: flyvis_noise_005 INR

## Paper Summary

- **INR optimization**: omega_f decides

## Knowledge Base

### R2 Progression Table

| Iter | n_frames | hidden_dim | n_layers | omega | lr | batch_sz | T_period | steps | final_r2 | final_mse | Why |
| ---- | -------- | ---------- | -------- | ----- | --- | -------- | -------- | ----- | -------- | --------- | --- |
| 1 | 10 | 128 | 5 | 80 | 1e-4 | 8 | 10 | 5000 | **0.850** | 3e-3 | first look |
| 3 | 10 | 64 | 5 | 161 | 3e-3 | 8 | 10 | many | 0.7 | nan | more |
| x | 10 |
| 77 | 10 | 64 | 5 | 160 | 3e-3 | 8 | 10 | 5000 | 0.7 | nan | lost |

### Established Principles

Higher omega needs a lower rate.

## Private Thoughts

not for you

## Current Block (Block 1)

### Block Info

Focus: omega_f
n_training_frames: {frames}

### Emerging Observations

**CRITICAL: This section must ALWAYS be at the END of memory file.**

{observed}
"""


def test_a_memory_s_words_and_figures_are_read(old_folder: Path, tmp_path: Path) -> None:
    (old_folder / "old_memory.md").write_text(MEMORY.format(frames=100, observed="It got worse."))
    (old_folder / "memory").mkdir()
    (old_folder / "memory" / "block_001_memory.md").write_text(MEMORY.format(frames=10, observed="It got better."))
    (old_folder / "memory" / "block_002_memory.md").write_text(MEMORY.format(frames=7, observed="Nobody knows."))
    entries, unread = import_log(old_folder, tmp_path / "imported")
    third = entries[2].config
    assert (third[parameters.HIDDEN_DIM], third[parameters.T_PERIOD], third[parameters.TOTAL_STEPS]) == (64, 10.0, None)
    for line in (
        "old_memory.md, line 14: steps must be a number, got 'many'",
        "old_memory.md, line 14: omega_f 161, and 170 in the log or its config, which is taken",
        "old_memory.md, line 14: final_r2 0.7, and 0.61 in the log or its config, which is taken",
        "old_memory.md, line 15: a row must have 12 cells, an iteration first: | x | 10 |",
        "old_memory.md, line 16: the log has no entry of iteration 77 that was read",
        "old_memory.md, line 22: not a section of a memory, so nothing below it is read: Private Thoughts",
        "memory/block_002_memory.md: its text belongs to no block of the log: its Block Info has n_training_frames 7",
    ):
        assert line in unread, unread
    files = record_files("imported", read_blocks(open_folder(tmp_path / "imported")[2], {}))
    now, before = files["imported_memory.md"], files["memory/block_001_memory.md"]
    for text, own, other in ((now, "worse", "better"), (before, "better", "worse")):
        for quoted in ("- **INR optimization**: omega_f decides", "Higher omega needs a lower rate.", f"It got {own}."):
            assert f"\n> {quoted}\n" in text
        assert other not in text
        assert "not for you" not in text
        assert "no LLM took part" not in text


def test_what_a_person_knows_of_every_iteration_is_taken_where_nothing_else_says_it(
    old_folder: Path, told_here: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    known = {parameters.XY_PERIOD: 2.0, parameters.RATE: 1e-5}
    entries, _ = import_log(old_folder, old_folder.parent / "imported", known=known)
    assert [entry.config[parameters.XY_PERIOD] for entry in entries] == [4.0, 2.0, 4.0, 2.0]
    assert [entry.config[RATE] for entry in entries] == [1e-4, 3e-3, 1e-4, 1e-4]
    text = told_here("import", str(old_folder), "--sweep-folder", "out", "--known", "omega=-1", "nobody=3", "lr=x")
    for fault in (
        "--known omega must be greater than 0, got -1",
        "--known must be NAME=VALUE of an explorable parameter, got 'nobody=3'",
        "--known lr must be a number, got 'x'",
    ):
        assert fault in text


def test_learn_from_refuses_a_log_without_whole_configs(
    log: Path, told_here: Callable[..., str], own_data: list[str]
) -> None:
    (log.parent / "old_analysis.md").write_text(planted_log(1500.0))
    _, unread = import_log(log, log.parent / "old")
    say = "no iteration has a value of nnr_f_xy_period; --known nnr_f_xy_period=VALUE gives one for all"
    assert f"old_analysis.md: {say}" in unread
    text = told_here("-m", "blocks=tiny", *own_data, f"sweep.learn_from={log.parent / 'old'}")
    assert "has none with nnr_f_xy_period; siren-sweep import with --known" in text


@pytest.mark.parametrize("steps", [40, 300])
def test_a_sweep_learns_from_an_imported_folder_or_says_that_nothing_there_lies_in_its_space(
    steps: int, old_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its configs say what its log does not: with 40 steps they lie in the space of the tiny sweep."""
    (old_folder / "old_analysis.md").write_text(planted_log(300.0))
    (old_folder / "config" / "iter_002_slot_01.yaml").unlink()
    for index, omega in enumerate(np.geomspace(5, 4000, 48), 1):
        (old_folder / "config" / f"iter_{index:03d}_slot_00.yaml").write_text(
            f"graph_model: {{omega_f: {omega:.4g}, n_layers_nnr_f: 2, hidden_dim_nnr_f: 16, nnr_f_xy_period: 16.0}}\n"
            f"training: {{inr_batch_size: 4, learning_rate_NNR_f: 1e-4}}\nclaude: {{total_steps: {steps}}}\n"
        )
    import_log(old_folder, tmp_path / "old")
    configs = run(tmp_path / "out", {}, monkeypatch, f"sweep.learn_from={tmp_path / 'old'}")
    first, said = configs[1][0], capsys.readouterr().err
    learned = (first[parameters.N_LAYERS], first[parameters.XY_PERIOD]) == (2, 16.0)
    assert learned == (steps == 40) == (first[OMEGA] == pytest.approx(300, rel=0.1))
    assert (f"block 1 learns nothing from {tmp_path / 'old'}: no trial there has a config" in said) != learned


def test_of_two_solved_configs_of_another_sweep_the_cheaper_comes_first(tmp_path: Path) -> None:
    old = PlantedSweep(tmp_path / "old")
    old.begin(1, settings={"claude.solved_r2": 0.9999})
    old.batch(1, [solved(14.0, 64), solved(10.0, 8)])
    storage = open_storage(None, SweepPaths(make(tmp_path / "new")))
    warm_start.adopt(storage, tmp_path / "old")
    space = make_space(Block(10, 20), {parameters.HIDDEN_DIM: "choice(8, 64)"}, CONFIG, set())
    assert warm_start.best_known(warm_start.earlier(storage, space)) == {parameters.HIDDEN_DIM: 8}


def solved(score: float, width: int) -> dict:
    outcome = {"attempt": 1, "status": "finished", "metrics": {"final_r2": 1.0}, "stop_step": 20}
    return {"score": score, "changes": {parameters.HIDDEN_DIM: width}, "outcome": outcome}
