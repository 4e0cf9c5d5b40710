"""What could run another's code or give a secret away: nothing is unpickled, nothing leaves its folder."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conftest import run_command, told
from hypothesis import given
from hypothesis import strategies as st

from siren_sweep.errors import ConfigError
from siren_sweep.paths import RESERVED, OutputPaths
from siren_sweep.study.storage import storage_reason

ROOT = Path(__file__).parents[1]
SOURCES = [file for folder in ("siren_sweep", "bench", "tests") for file in sorted((ROOT / folder).rglob("*.py"))]
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def faults(source: str) -> list[str]:
    """What in a source file would load a pickle, or YAML that makes objects."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in UNPICKLERS]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module or ""] if (node.module or "").split(".")[0] in UNPICKLERS else []
        elif isinstance(node, ast.Call):
            call, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            if call == "torch.load" and given.get("weights_only") != "True":
                found.append("torch.load without weights_only=True")
            if call.split(".")[-1] in ("read_pickle", "unsafe_load", "full_load") or call == "yaml.load":
                found.append(call)
            if given.get("allow_pickle", "False") != "False":
                found.append("allow_pickle")
    return found


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_unpickled(file: Path) -> None:
    # A launcher's job goes to the process that it has started itself, by a pipe that nobody else writes to; joblib's
    # processes are started by the script that uses them.
    allowed = {"hydra_jobs.py": ["cloudpickle"], "stock.py": ["joblib"]}
    assert faults(file.read_text()) == allowed.get(file.name, [])


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
    ],
)
def test_what_unpickles_is_seen(source: str) -> None:
    assert len(faults(source)) == 1


@given(st.text(max_size=120) | st.from_regex(r"[\w./ -]{0,8}(\.\.|/|\\)[\w./ -]{0,8}", fullmatch=True))
def test_no_sweep_name_leaves_the_outputs_or_hides_what_all_share(name: str) -> None:
    root = Path("/some/outputs")
    try:
        folder = OutputPaths(root).sweep(name).root
    except ConfigError:
        return
    assert folder.parent == root
    assert folder.name == name
    assert folder.resolve().parent == root
    assert name not in RESERVED


@pytest.mark.parametrize("by", ["override", "variable"])
def test_the_password_of_a_storage_that_is_not_there_is_not_told(
    by: str, own_data: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql+psycopg://me:se%40cret@127.0.0.1:9/db"  # the discard port: nothing listens
    monkeypatch.setenv("PGPASSWORD", "se@cret")
    if by == "variable":
        monkeypatch.setenv("SIREN_SWEEP_STORAGE_URL", url)
    given_url = [f"storage.url={url}"] if by == "override" else []
    result = run_command("-m", "blocks=tiny", *own_data, "outputs_dir=out", *given_url, cwd=tmp_path)
    message = told(result)
    assert "the storage of the studies cannot be opened" in message
    assert "refused" in message
    assert "se%40cret" not in message + result.stdout
    assert "se@cret" not in message + result.stdout
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"cret" in file.read_bytes()]


def test_a_driver_that_quotes_the_address_is_told_without_the_password() -> None:
    error = RuntimeError('connection to "postgresql+psycopg://me:secret@host:5432/db" failed\nand more')
    assert storage_reason(error) == 'connection to "postgresql+psycopg://host:5432/db" failed'
