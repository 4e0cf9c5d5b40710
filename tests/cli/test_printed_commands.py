"""Every command that a page, a message or a file tells a person to type does what it says, as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import N_NEURONS, run_command
from fields import make_film

from siren_sweep.cli import commands
from siren_sweep.cli.main import main
from siren_sweep.cli.ui import newest_sweep
from siren_sweep.field import cache_file
from siren_sweep.paths import OutputPaths

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = r"(?:(?:\.venv/bin/)?(?:python|make|pytest|optuna-dashboard)|(?:\S*/bin/)?siren-sweep)"
COMMAND = re.compile(rf"(?:(?<=`)|(?<=^)|(?<=  )|(?<=: ))(?:[A-Z_]+=\S+ )?{PROGRAMS} [^`\n]+", re.MULTILINE)
OF_THE_READER = {  # what a page leaves for the reader to put in: what the test's own sweep has
    "outputs/demo": "outputs/s",
    "outputs/NAME": "outputs/s",
    "outputs/A outputs/B": "outputs/s outputs/s",
    "outputs/a outputs/b": "outputs/s outputs/s",
    "outputs/a": "outputs/s",
    "outputs/OLD": "outputs/old",
    "outputs/SWEEP": "outputs/s",
    "NAME_00": "s_00",
    "siren-sweep NAME": "siren-sweep record",
    "sampler=NAME": "sampler=tpe",
    "pruner=NAME": "pruner=median",
    "FILE...": "phone.mp4",
    "video --extent 8": "video phone.mp4 --out x_list_small --extent 8",
    "CONFIG.yaml": "outputs/s/best/block_01.yaml",
    "block_03.yaml": "outputs/s/best/block_01.yaml",
    "FIELD.safetensors": "field.safetensors",
    "import FOLDER": "import outputs/s/record",
    "import old_folder": "import outputs/s/record",
    "--format FORM": "--format npz",
    "--out RUN": "--out run",
    "/data/x_list_train": "field",
    "/groups/me/x_list_train": "field",
    "$USER@$(hostname)": "me@host",  # which the reader's shell fills in
    "=PATH": "=field",
    " --device cuda": "",
    " --tracking-uri http://somebody:password@host:5000": "",
}


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred"),  # as MLflow imports its own agents
]


@dataclass(frozen=True)
class Home:
    """A folder with a finished sweep `outputs/s`, its data, films, and what the commands said that made it."""

    root: Path
    said: dict[str, str]


@pytest.fixture(scope="module")
def home(field_folder: Path, own_data: list[str], tmp_path_factory: pytest.TempPathFactory) -> Home:
    root = tmp_path_factory.mktemp("printed")
    (root / "field").symlink_to(field_folder)
    result = run_command("-m", "blocks=tiny", *own_data, "sweep.name=s", "claude.n_iter_block=1", cwd=root)
    assert result.returncode == 0, result.stderr
    cached = cache_file(
        field_folder, n_frames=4, n_input_neurons=N_NEURONS, cache_dir=OutputPaths(root / "outputs").cache
    )
    (root / "field.safetensors").symlink_to(cached)
    for name in ("phone.mp4", "one.mov", "two.mov"):
        make_film(root / name)
    video = run_command("video", "phone.mp4", "--out", "x_list_train", cwd=root)
    return Home(root, {"the sweep": result.stdout + result.stderr, "the video": video.stdout})


def told(home: Home) -> Iterator[tuple[str, str]]:
    """Where each command stands, and the command."""
    texts = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES} | home.said
    texts |= {f"{name} --help": commands._COMMANDS[name][3] for name in commands.names()}
    for file in (home.root / "outputs/s").rglob("*"):
        if file.suffix in (".yaml", ".md", ".txt", ".html") and file.is_file():
            texts[str(file.relative_to(home.root))] = file.read_text()
    for where, text in texts.items():
        for command in COMMAND.findall(re.sub(r"\\\n\s*", "", text)):  # one that goes on in the next line is one
            yield where, command.partition("  #")[0].strip()


def test_every_command_that_is_told_anywhere_runs(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, str] = {}
    for where, command in told(home):
        for text, mine in OF_THE_READER.items():
            command = command.replace(text, mine)
        seen.setdefault(command.rstrip(".,;:"), where)
    assert {"the sweep", "the video", "README.md", "import --help", "outputs/s/best/block_01.yaml"} <= set(
        seen.values()
    )
    wrong = []
    for command, where in seen.items():
        folder = home.root if "/best/" not in where else home.root / "outputs/s/best"
        with monkeypatch.context() as there:
            there.chdir(folder)
            try:
                check(shlex.split(command), there)
            except (Exception, SystemExit) as fault:
                if not (isinstance(fault, SystemExit) and fault.code in (None, 0)):
                    wrong.append(f"{where}: {command}: {fault!r} {capsys.readouterr().err[-300:]}")
    assert not wrong, "\n".join(wrong)


def check(words: list[str], there: pytest.MonkeyPatch) -> None:
    """Run a command, or as much of it as takes no time: a run is composed, a target of make is looked up."""
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        there.setenv(name, value)
    program, words = words[0].rpartition("/")[2], words[1:]
    if program == "make":
        assert subprocess.run(["make", "-n", *words], cwd=ROOT, check=False, capture_output=True).returncode == 0, words
    elif program == "pytest" or (program == "python" and words[0] != "-m"):
        assert all((ROOT / word).is_file() for word in words[:1])
    elif program == "optuna-dashboard":
        address = next(word for word in words if word.startswith("sqlite:///"))
        assert Path(address.removeprefix("sqlite:///")).is_file(), address
    elif program == "python" and words[1] == "siren_sweep.train":
        run_bare(words[2:])
    elif program == "python" and words[1] == "siren_sweep":
        run_main(words[2:], there)
    elif program == "siren-sweep":
        run_main(words, there)
    else:
        raise AssertionError(f"what is {program}?")


def run_main(words: list[str], there: pytest.MonkeyPatch) -> None:
    """A subcommand as it stands, if it is more than named; of a run, or a sweep, its config; of pages, the sweep."""
    if "--out" in words and words[0] == "video":
        shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)  # which another command wrote
    if words[:1] == ["ui"]:
        assert newest_sweep(Path(*words[1:])).study_db.is_file()
        return
    if words in ([name] for name in commands.names()):
        return
    show = [] if words and words[0] in commands.names() else ["--cfg", "job"]
    there.setattr(sys, "argv", ["siren_sweep", *words, *show])
    main()


def run_bare(words: list[str]) -> None:
    from siren_sweep.train import bare

    assert bare.main(words) == 0


def test_a_sweep_s_folder_names_no_place_of_its_own(home: Home) -> None:
    """So that it can be moved; where the data lie is another matter."""
    files = [file for file in (home.root / "outputs/s").rglob("*") if file.is_file()]
    assert len(files) > 20
    assert [file for file in files if os.fsencode(home.root / "outputs") in file.read_bytes()] == []
