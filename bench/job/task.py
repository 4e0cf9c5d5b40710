"""A task, which is the same for all sides: data, frames, steps, seed, search space and first config."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir

from siren_sweep.config.checks import trial_config
from siren_sweep.config.compose import conf_dir, typed
from siren_sweep.config.overrides import of_text
from siren_sweep.config.parameters import T_PERIOD, TOTAL_STEPS, WINDOW, defaults
from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField, open_field
from siren_sweep.sweep.block import BlockStart, start_block
from siren_sweep.sweep.checks import SweepOverrides, sweep_texts


@dataclass(frozen=True)
class Task:
    """What a side is given; `total_steps` is the number of steps of a full trial."""

    data: str
    n_neurons: int
    n_frames: int
    total_steps: int
    seed: int

    @classmethod
    def of(cls, text: str) -> Task:
        """The task of a `text`."""
        return cls(**json.loads(text))

    @property
    def text(self) -> str:
        """The task as an argument of a command."""
        return json.dumps(dataclasses.asdict(self))

    @property
    def overrides(self) -> list[str]:
        """The overrides that a person types for a sweep with this task as its only block."""
        return [
            "dataset=flyvis",
            of_text("dataset.path", self.data),
            f"dataset.n_input_neurons={self.n_neurons}",
            f"blocks.schedule=[{{n_training_frames:{self.n_frames},total_steps:{self.total_steps}}}]",
            f"training.seed={self.seed}",
        ]

    def start(self, search_space: str) -> BlockStart:
        """The space of a file of `conf/search_space` at these frames, with the config that a sweep tries first."""
        with initialize_config_dir(conf_dir(), version_base="1.3"):
            cfg = typed(compose("config", [*self.overrides, f"search_space={search_space}"]))
        return start_block(cfg, 1, sweep_texts(cfg, SweepOverrides(), cfg.blocks.schedule[0]), {}, None)

    def one_network_space(self) -> str:
        """The name of the search space without windows: `default`, where that has none at these frames."""
        return "one_network" if WINDOW in self.start("default").space.dimensions else "default"

    def field(self, cache: Path | None) -> StimulusField:
        """The data. Raises DataError."""
        return open_field(Path(self.data), n_frames=self.n_frames, n_input_neurons=self.n_neurons, cache_dir=cache)

    def config(self, values: dict[str, Any]) -> TrialConfig:
        """The config of a training run; `values` are explorable parameters by dotted name."""
        nested: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            group, _, key = name.partition(".")
            nested.setdefault(group, {})[key] = value
        nested["training"] |= {"n_training_frames": self.n_frames, "seed": self.seed}
        return trial_config(nested)

    def default_config(self) -> TrialConfig:
        """The defaults of flyvis-gnn's trainer. Its pipeline sets T_period to the number of frames."""
        return self.config(defaults() | {T_PERIOD: float(self.n_frames), TOTAL_STEPS: self.total_steps})


def usual_steps(n_frames: int) -> int:
    """The steps of a full trial: those of the last block in `conf/blocks/full.yaml` that has no more frames."""
    schedule = yaml.safe_load((Path(conf_dir()) / "blocks" / "full.yaml").read_text())["schedule"]
    fitting = [block for block in schedule if block["n_training_frames"] <= n_frames]
    return int((fitting or schedule[:1])[-1]["total_steps"])
