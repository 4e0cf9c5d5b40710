"""A person's file: what is understood, what is answered, and that nothing in it can stop a sweep."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from siren_sweep.config import parameters
from siren_sweep.sweep import user_input
from siren_sweep.sweep.user_input import Bound, EndSweep, More, Refused, StopBlock, Try

OMEGA, RATE, WIDTH = parameters.OMEGA, parameters.RATE, parameters.HIDDEN_DIM
FORMS = [
    "fix omega_f = 30",
    "bound learning_rate_NNR_f 1e-5 .. 1e-3",
    "try omega_f=30, hidden_dim_nnr_f=128",
    "more 8",
    "stop block",
    "end sweep",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    user_input.create(tmp_path / "user_input.md")
    return tmp_path / "user_input.md"


def pend(file: Path, *lines: str) -> None:
    text = file.read_text().replace("## Pending Instructions\n", "\n".join(["## Pending Instructions", "", *lines, ""]))
    file.write_text(text)


def test_a_new_file_holds_every_form_in_its_head_and_no_instruction(file: Path) -> None:
    text, note = user_input.read(file)
    assert note is None
    assert all(form in text for form in FORMS)
    assert user_input.read_instructions(text) == []


def test_existing_files_are_not_overwritten(file: Path) -> None:
    pend(file, "more 3")
    user_input.create(file)
    assert "more 3" in file.read_text()


def test_every_form_is_understood(file: Path) -> None:
    pend(file, *FORMS)
    assert user_input.read_instructions(user_input.read(file)[0]) == [
        Bound(FORMS[0], OMEGA, 30.0, 30.0),
        Bound(FORMS[1], RATE, 1e-5, 1e-3),
        Try(FORMS[2], {OMEGA: 30.0, WIDTH: 128}),
        More(FORMS[3], 8),
        StopBlock(FORMS[4]),
        EndSweep(FORMS[5]),
    ]


@pytest.mark.parametrize("line", ["- fix graph_model.omega_f=3e1", "* `Fix OMEGA_F = 30.`", "  1. fix omega_f = 30"])
def test_bullets_dotted_names_and_case_are_taken_as_they_come(line: str) -> None:
    (instruction,) = user_input.read_instructions(f"## Pending\n{line}\n")
    assert isinstance(instruction, Bound)
    assert (instruction.parameter, instruction.low, instruction.high) == (OMEGA, 30.0, 30.0)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("please go faster", "must begin with"),
        ("fix omega = 3", "the parameters are"),
        ("fix omega_f 3", "name = value"),
        ("fix omega_f = three", "must be a number"),
        ("fix omega_f = nan", "finite"),
        ("fix omega_f = -3", "greater than 0"),
        ("fix hidden_dim_nnr_f = 8.5", "whole number"),
        ("fix hidden_dim_nnr_f = 1e9", "at most 8192"),
        ("bound omega_f 9 .. 3", "below the upper"),
        ("bound omega_f 9", "low .. high"),
        ("try omega_f=3, omega_f=4", "each name once"),
        ("try", "name=value"),
        ("more -1", "whole number from 1"),
        ("more 100000", "whole number from 1"),
        ("stop", "must begin with"),
    ],
)
def test_what_is_not_understood_is_told_with_the_rule(line: str, why: str) -> None:
    (refused,) = user_input.read_instructions(f"## Pending Instructions\n\n{line}\n")
    assert isinstance(refused, Refused)
    assert refused.line == line
    assert why in refused.why


def test_handled_lines_move_and_others_stay(file: Path) -> None:
    pend(file, "- more 8", "more 8", "stop block")
    assert user_input.acknowledge(file, [("more 8", "8 trials\nadded"), ("gone", "it was done")]) is None
    text = file.read_text()
    assert user_input.pending_lines(text) == ["more 8", "stop block"]
    assert text.endswith("## Acknowledged\n\n- more 8 -> 8 trials added\n- gone -> it was done\n")
    user_input.acknowledge(file, [("stop block", "ended after batch 2")])
    assert file.read_text().endswith("- gone -> it was done\n- stop block -> ended after batch 2\n")
    assert user_input.pending_lines(file.read_text()) == ["more 8"]


def test_what_was_written_while_the_sweep_worked_stays(file: Path) -> None:
    pend(file, "more 8")
    text = user_input.read(file)[0]
    pend(file, "end sweep")
    user_input.acknowledge(file, [(one.line, "done") for one in user_input.read_instructions(text)])
    assert user_input.pending_lines(file.read_text()) == ["end sweep"]


def test_an_acknowledged_section_is_made_where_there_is_none(tmp_path: Path) -> None:
    file = tmp_path / "user_input.md"
    file.write_text("## Pending Instructions\nmore 1\n\n## My notes\nkeep me\n")
    user_input.acknowledge(file, [("more 1", "done")])
    assert (
        file.read_text() == "## Pending Instructions\n\n## My notes\nkeep me\n\n## Acknowledged\n\n- more 1 -> done\n"
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x00\x01", "no text"),
        (b"## Pending\n\xff\xfe", "UTF-8"),
        (b"a" * (user_input.MAX_BYTES + 1), "longer"),
        (b"more 8\n", "Pending Instructions"),
    ],
)
def test_a_broken_file_is_told_and_left_as_it_is(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "user_input.md"
    file.write_bytes(content)
    text, note = user_input.read(file)
    assert text == ""
    assert note is not None
    assert why in note
    assert user_input.acknowledge(file, [("more 8", "done")]) == note
    assert file.read_bytes() == content


def test_a_folder_in_place_of_the_file_does_not_stop_the_sweep(tmp_path: Path) -> None:
    assert "cannot be read" in (user_input.read(tmp_path)[1] or "")
    assert user_input.acknowledge(tmp_path, [("a", "b")])


def test_no_file_is_no_instruction(tmp_path: Path) -> None:
    assert user_input.read(tmp_path / "none") == ("", None)


def random_text(rng: random.Random) -> str:
    pieces = [
        *FORMS, *"=.,#-*`\n\r\t \0\x0b\u2028\u0663é", "## Pending Instructions\n", "\n## Acknowledged\n", "<!--", "-->",
        "..", "fix ", "bound ", "try ", "more ", "1e999", "-inf", "nan", "9" * 400, "omega_f", "graph_model.", "\n\n",
    ]  # fmt: skip
    return "## Pending\n" + "".join(rng.choices(pieces, k=rng.randrange(30)))


def test_random_files_raise_nothing_and_no_line_is_dropped() -> None:
    rng = random.Random(0)
    for _ in range(10_000):
        text = random_text(rng)
        assert [one.line for one in user_input.read_instructions(text)] == user_input.pending_lines(text)


def test_every_pending_line_is_acknowledged(tmp_path: Path) -> None:
    rng, file = random.Random(1), tmp_path / "user_input.md"
    for _ in range(300):
        file.write_text(random_text(rng).replace("\0", ""), encoding="utf-8")
        lines = user_input.pending_lines(user_input.read(file)[0])
        assert user_input.acknowledge(file, [(line, "seen") for line in lines]) is None
        text = user_input.read(file)[0]
        assert user_input.pending_lines(text) == []
        assert all(f"- {line} -> seen" in text for line in lines)
