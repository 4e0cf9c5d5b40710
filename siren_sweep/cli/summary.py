"""What a sweep prints at its end: the best of each block, and where its files and MLflow's pages are."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from siren_sweep.paths import OutputPaths, command, from_here
from siren_sweep.text import wrapped


class PrintSummary(Callback):
    """A Hydra callback that prints the summary when a multirun has ended."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        outputs = OutputPaths(Path(config.outputs_dir).absolute())
        paths = outputs.sweep(config.sweep.name)
        if not paths.best_json.exists():
            return
        print()
        for entry in json.loads(paths.best_json.read_text()):
            line = (
                f"block {entry['block']}: final_r2 {entry['final_r2']:.8f} at {entry['n_training_frames']} frames, "
                f"{entry['total_params']} parameters, {entry['training_time_min']:.2f} min (trial {entry['trial']})"
            )
            print("\n".join(wrapped(line, shutil.get_terminal_size().columns) if sys.stdout.isatty() else [line]))
        print(f"best configs and weights  {from_here(paths.best)}")
        print(f"pictures                  {from_here(paths.best)}/block_*.png")
        print(f"report                    {from_here(paths.report)}")
        print(f"scientific record         {from_here(paths.record)}")
        if not config.tracking.enabled:
            return
        print(f"MLflow's pages            {command('ui', paths.root)}")
