"""Imports go down only, and the engine runs without the libraries of the search."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
import pytest

from siren_sweep.config.schema import TrialConfig
from siren_sweep.train.engine import initial_model
from siren_sweep.train.weights_file import Data, Description, saved_bytes

PACKAGE = Path(__file__).parents[1] / "siren_sweep"

# The ground first. A room imports from the rooms below it and from its own, lazily or not; no module from itself by
# way of others.
FLOORS = ("errors", "text", "paths", "config", "field", "train", "study", "search", "views", "sweep", "cli")
ABOVE = ("plugins", "__main__", "__init__")  # what Hydra and Python find; nothing of ours imports them


def module_of(file: Path) -> str:
    """`train.engine.cpu`."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports(file: Path) -> set[str]:
    """The modules of ours that a file imports anywhere: at its top, in a function, for types alone."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "siren_sweep":
            base = (node.module or "").removeprefix("siren_sweep").removeprefix(".")
            for alias in node.names:
                whole = f"{base}.{alias.name}".removeprefix(".")
                found.add(whole if whole in MODULES else base)
        elif isinstance(node, ast.Import):
            own = (alias.name for alias in node.names if alias.name.startswith("siren_sweep."))
            found |= {name.removeprefix("siren_sweep.") for name in own}
    return found


MODULES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str) -> None:
    room = module.split(".")[0]
    own = len(FLOORS) if room in ABOVE else FLOORS.index(room)
    for name in imports(MODULES[module]):
        assert FLOORS.index(name.split(".")[0]) <= own, f"{module} imports {name} from a higher floor"


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module: imports(file) - {module} for module, file in MODULES.items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a model as an export writes it."""
    cfg, file = TrialConfig(), tmp_path_factory.mktemp("model") / "block_01.safetensors"
    cfg.dataset.n_input_neurons = 2
    data = Data(None, 2, cfg.training.n_training_frames, "")
    description = Description(cfg, 0.5, data, np.zeros((2, 2), np.float32))
    file.write_bytes(saved_bytes(initial_model(cfg).state_dict(), description))
    return file


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        (
            "siren_sweep.train.loop",
            ["zarr", "hydra", "omegaconf", "optuna", "mlflow", "matplotlib", "rich", "sqlalchemy"],
        ),
        ("siren_sweep", ["torch", "numpy", "yaml"]),
        (
            "siren_sweep; siren_sweep.load('{saved}')",
            [
                *("zarr", "hydra", "omegaconf", "optuna", "mlflow", "matplotlib", "pandas", "rich", "sqlalchemy"),
                *("numba", "sklearn", "scipy"),
            ],
        ),
        ("siren_sweep.search.tree", ["torch", "optuna", "hydra", "mlflow"]),
        ("siren_sweep.cli.main", ["torch", "optuna", "mlflow", "zarr"]),
        ("siren_sweep.sweep.worker", ["mlflow", "matplotlib"]),
        ("siren_sweep.sweep.loop", ["torch", "numba", "mlflow", "matplotlib", "sklearn", "zarr"]),
        ("hydra_plugins.siren_sweep_plugins", ["torch", "optuna", "mlflow"]),
    ],
)
def test_a_module_does_without(module: str, absent: list[str], saved: Path) -> None:
    code = f"import sys, {module.format(saved=saved)}; print([name for name in {absent} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
