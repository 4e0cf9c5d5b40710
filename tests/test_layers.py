"""Imports go down only, and the engine runs without the libraries of the search."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "siren_sweep"

# Ground floor first. A module imports from lower floors, and from modules of its own floor's folder.
FLOORS = [
    {"choices", "errors", "interrupts"},
    {"config", "paths"},
    {"field", "stimulus", "siren", "metrics"},
    {"engine"},
    {"fit"},
    {"train"},
    {"search", "memory", "storage"},
    {"studies"},
    {"blocks", "base_config", "data", "pictures", "mlflow_model", "registry"},
    {"trial", "tracking", "export", "progress", "lock"},
    {"record", "single", "launch", "mps", "monitor", "bare", "sync", "command_line", "app"},
    {"report", "import_log", "checks", "hydra_jobs", "batch", "summary", "instructions", "warm_start"},
    {"validation"},
    {"sweep"},
    {"plugins", "__main__", "__init__"},
]


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(level for level, rooms in enumerate(FLOORS) if name in rooms)


def imports(file: Path) -> list[str]:
    """The rooms that a file imports at its top level, with what it imports only for types."""
    found = []
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "siren_sweep":
            parts = (node.module or "").split(".")
            found += [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("siren_sweep.")]
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_down_only(file: Path) -> None:
    own = room(file)
    for name in imports(file):
        assert name == own or floor(name) <= floor(own), f"{own} imports {name} from a higher floor"
        assert name == own or floor(name) < floor(own) or file.parent == PACKAGE, f"{own} and {name} share a floor"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("siren_sweep.train", ["zarr", "hydra", "omegaconf", "optuna", "mlflow", "matplotlib", "rich", "sqlalchemy"]),
        ("siren_sweep.search.tree", ["torch", "optuna", "hydra", "mlflow"]),
        ("siren_sweep.app", ["torch", "optuna", "mlflow", "zarr"]),
        ("siren_sweep.trial", ["mlflow", "matplotlib"]),
        ("hydra_plugins.siren_sweep_plugins", ["torch", "optuna", "mlflow"]),
    ],
)
def test_a_module_does_without(module: str, absent: list[str]) -> None:
    code = f"import sys, {module}; print([name for name in {absent} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
