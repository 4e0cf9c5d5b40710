"""What Optuna's own pages show of a sweep."""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState, create_trial

from siren_sweep.paths import SweepPaths
from siren_sweep.study.dashboard import write_notes
from siren_sweep.study.records import Block, Hypothesis, Outcome, TrialPlan
from siren_sweep.study.stored_trials import trial_values
from siren_sweep.study.studies import create, load, open_storage, study_name, trial_id

BEGAN, ENDED = datetime.datetime(2026, 1, 2, 3, 4, 5), datetime.datetime(2026, 1, 2, 3, 14, 5)
PLAN = TrialPlan(
    2,
    {},
    parent=0,
    mutation="omega_f: 20 -> 40",
    hypothesis=Hypothesis("because " * 400, "a lower R2"),
    strategy="tree",
)


@pytest.fixture
def folder(tmp_path: Path) -> SweepPaths:
    return SweepPaths(tmp_path / "s")


def study_of(folder: SweepPaths) -> optuna.Study:
    return create(open_storage(None, folder), study_name(1), Block(1, 10))


@pytest.mark.parametrize("times", [(BEGAN, ENDED), None])
@pytest.mark.parametrize("told", [{"values": 0.9}, {"state": TrialState.FAIL}])
def test_a_trial_trained_when_it_trained_and_not_when_it_was_told(
    folder: SweepPaths, told: dict, times: tuple[datetime.datetime, datetime.datetime] | None
) -> None:
    study = study_of(folder)
    seconds = [time.timestamp() for time in times] if times else [None, None]
    outcome = Outcome(1, "finished", None, {}, 0, *seconds)
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=trial_values(PLAN, outcome)))
    study.tell(0, **told)
    for seen in (study, load(open_storage(None, folder), study_name(1))):
        assert seen is not None
        (trial,) = seen.trials
        assert trial.state.is_finished()
        if times:
            assert (trial.datetime_start, trial.datetime_complete) == times
        else:
            assert trial.datetime_complete is not None
            assert datetime.datetime.now() - trial.datetime_complete < datetime.timedelta(minutes=1)


def test_the_metric_has_its_name(folder: SweepPaths) -> None:
    study_of(folder)
    study = study_of(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        assert study.metric_names == ["R2"]


def test_a_hypothesis_is_a_note_in_parts_and_what_a_person_wrote_instead_stays(folder: SweepPaths) -> None:
    study = study_of(folder)
    storage = open_storage(None, folder)
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=trial_values(PLAN)))
    study_id, own = storage.get_study_id_from_name(study.study_name), trial_id(storage, study, 0)
    write_notes(storage, study_id, {own: PLAN})
    kept = storage.get_study_system_attrs(study_id)
    parts = [kept[f"dashboard:{own}:note_str:{part}"] for part in (0, 1)]
    assert kept[f"dashboard:{own}:note_ver"] == 1
    assert "".join(parts).startswith(
        "**Hypothesis**: `omega_f: 20 -> 40` improves R2 over trial 0\n\n**Rationale**: bec"
    )
    assert "".join(parts).endswith("laid out as tree")
    assert all(len(part) <= 2045 for part in parts)
    storage.set_study_system_attr(study_id, f"dashboard:{own}:note_str:0", "a person's")
    write_notes(storage, study_id, {own: PLAN})
    assert storage.get_study_system_attrs(study_id)[f"dashboard:{own}:note_str:0"] == "a person's"
