"""The structured configs behind `conf/`: every parameter's name, type, unit and bounds, in one place.

Plain dataclasses of the standard library, so that the engine reads them on a machine without Hydra. A bound is
field metadata: `low`/`high` are inclusive, `above` is exclusive. `checks` holds values against them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from siren_sweep.config.choices import (
    FirstLayerInit,
    FirstLayerRate,
    LrSchedule,
    Precision,
    Sampling,
    Scheduler,
    Strategy,
)

# What a finished run tells, in the order in which it is printed.
METRICS = (
    "final_r2",
    "final_mse",
    "final_pearson_r2",
    "r2_ceiling",
    "training_time_min",
    "total_params",
    "params_per_value",
    "rank_90",
    "rank_99",
)
# In the place of the final metrics where a trial trained some of its windows: exact over those, and named so.
SAMPLE_NAMES = {
    "r2": "sample_r2",
    "r2_se": "sample_r2_se",
    "mse": "sample_mse",
    "pearson_r2": "sample_pearson_r2",
    "n_trained": "sample_windows",
    "n_windows": "n_windows",
    "whole_time_min": "whole_time_min",
}
N_REPORTS = 20  # what decides happens at these many equal fractions of total_steps


def bounded(default: Any, **bounds: Any) -> Any:
    """A dataclass field with `low`, `high` (inclusive), `above` (exclusive) or `unit` in its metadata."""
    return field(default=default, metadata=bounds)


def explorable(
    default: Any, short: str, about: str, *, ratio: str | None = None, most: float = 0, **bounds: Any
) -> Any:
    """A `bounded` field that a sweep may vary; `parameters` makes a `Parameter` of it.

    `short` is its name in the record, `about` what an agent is told of it. Where its best value moves with the frames
    it is searched as a `ratio` of that name, above 0 and at most `most`; `search.space` says to what.
    """
    own = {"short": short, "about": about} | ({"ratio": ratio, "most": most} if ratio else {})
    return field(default=default, metadata={**bounds, "explorable": own})


@dataclass
class Dataset:
    """Where the stimulus field lies: the folder that holds `stimulus.zarr` and `pos.zarr`."""

    name: str = "synthetic"
    path: str | None = None
    n_input_neurons: int = bounded(1736, low=1)
    generate: bool = False  # make the embedded synthetic scene at `path` when it is not there


@dataclass
class GraphModel:
    """SIREN (t, x, y) -> luminance; names and defaults are the mission's."""

    inr_type: str = "siren_txy"
    hidden_dim_nnr_f: int = explorable(
        128, "hidden_dim", "width of the hidden layers; parameters and time grow with its square", low=4, high=8192
    )
    n_layers_nnr_f: int = explorable(5, "n_layers", "number of hidden sine layers", low=1, high=32)
    omega_f: float = explorable(
        80.0,
        "omega",
        "base frequency of the sine activations; higher resolves more and wants a lower rate",
        above=0,
        high=65536,
    )
    nnr_f_T_period: float = explorable(
        1.0,
        "T_period",
        "frames in 2 pi of the network's t; about as many as the network sees",
        above=0,
        unit="frames",
        ratio="T_period_ratio",
        most=1e6,
    )
    nnr_f_xy_period: float = explorable(
        1.0, "xy_period", "lattice spacings in 2 pi of the network's x and y", above=0, unit="lattice spacings"
    )
    window_frames: int = explorable(
        0,
        "window_frames",
        "frames of a window with a network of its own; 0: one network over all frames",
        low=0,
        unit="frames",
    )


@dataclass
class Training:
    """One training run."""

    n_training_frames: int = bounded(10, low=2)
    learning_rate_NNR_f: float = explorable(1e-4, "lr", "of Adam", above=0, high=1.0)
    inr_batch_size: int = explorable(8, "batch_size", "frames a step", low=1, unit="frames")
    sampling: Sampling = Sampling.points
    lr_schedule: LrSchedule = LrSchedule.warm_cosine
    adam_beta2: float = bounded(0.95, above=0, high=0.99999)  # how slowly Adam forgets squared gradients
    turn_limit: float = bounded(0.35, low=0)  # of the norm of omega times a hidden layer's update; 0: none
    first_layer_init: FirstLayerInit = FirstLayerInit.multiscale
    first_layer_rate: FirstLayerRate = FirstLayerRate.scaled
    hidden_precision: Precision = Precision.reduced
    stop_when_solved: bool = False  # end at the first report at which the exact R2 is claude.solved_r2 or more
    seed: int = bounded(42, low=0, high=2**31 - 1)
    device: str = "auto"  # auto: the slot's GPU where there is one, else cpu
    n_threads: int = bounded(1, low=0, high=1024)  # CPU threads of one training run; 0: all cores
    checkpoint_every_s: float = bounded(60.0, above=0)


@dataclass
class Claude:
    """The search's budget; the group keeps the name that people's configs have."""

    total_steps: int = explorable(
        5000, "total_steps", "steps of a training run", low=N_REPORTS, ratio="total_steps_ratio", most=100
    )
    n_parallel: int = bounded(4, low=1, high=64)
    n_iter_block: int = bounded(12, low=1)
    ucb_c: float = bounded(1.414, low=0)
    time_budget_min: float = bounded(60.0, above=0)
    strategy: Strategy = Strategy.auto
    n_validation_seeds: int = bounded(2, low=0, high=32)
    solved_r2: float | None = bounded(0.9999, above=0, high=1)  # from it on the cheaper config wins; null: never
    search_windows: int = bounded(16, low=0)  # windows that a trial of a sweep trains; 0: all


@dataclass
class Block:
    """One step of the curriculum."""

    n_training_frames: int = bounded(10, low=2)
    total_steps: int = bounded(5000, low=N_REPORTS)


@dataclass
class TrialConfig:
    """What one training run needs: the part of the composed config that `train` reads."""

    dataset: Dataset = field(default_factory=Dataset)
    graph_model: GraphModel = field(default_factory=GraphModel)
    training: Training = field(default_factory=Training)
    claude: Claude = field(default_factory=Claude)


@dataclass
class Blocks:
    """The curriculum: one study a block."""

    name: str = "full"
    schedule: list[Block] = field(default_factory=list)


@dataclass
class SearchSpace:
    """`params`: what varies, in Hydra's override grammar; `start`: where first batches begin. `params_from` and
    `start_from` hold what replaces their lines from a number of frames on; `base` what `base=PATH.yaml` says,
    which counts more than `start` and `start_from`."""

    params: dict[str, str] = field(default_factory=dict)
    params_from: dict[int, dict[str, str]] = field(default_factory=dict)
    start: dict[str, float] = field(default_factory=dict)
    start_from: dict[int, dict[str, Any]] = field(default_factory=dict)
    base: dict[str, float] = field(default_factory=dict)


@dataclass
class SweepName:
    """The folder of a sweep under `outputs_dir`; `learn_from` is one whose trials its model knows from the start."""

    name: str = "sweep"
    learn_from: str | None = None


@dataclass
class Tracking:
    """Where MLflow's runs go; null: a sqlite file under `outputs_dir`."""

    enabled: bool = True
    uri: str | None = None
    system_metrics: bool = False  # the machine's load and memory, in the sweep's run


@dataclass
class Storage:
    """Where Optuna's studies live; null: a sqlite file in the sweep's folder."""

    url: str | None = None


@dataclass
class Cluster:
    """Trials as jobs of a cluster; where `scheduler` is null they run in slots of this machine."""

    scheduler: Scheduler | None = None
    partition: str | None = None  # SLURM's partition or LSF's queue; null: the cluster's default
    gpus: int = bounded(1, low=0, high=1)  # of a job: a trial trains on one
    cores: int = bounded(4, low=1, high=1024)  # of a job, and its CPU threads
    memory_gb: int = bounded(16, low=1)
    minutes: int | None = bounded(None, low=1)  # of a job; null: what claude.time_budget_min needs
    setup: list[str] = field(default_factory=list)  # lines of shell before a trial, such as "module load cuda"
    options: list[str] = field(default_factory=list)  # the scheduler's own, such as "--account=lab"
    n_batches: int = bounded(1, low=1, high=64)  # that may be open at once


@dataclass
class Agent:
    """A program that proposes the configs of each batch; none where `command` is empty."""

    command: list[str] = field(default_factory=list)
    timeout_min: float = bounded(20.0, above=0, high=1440)  # of each time that it is asked
    retries: int = bounded(1, low=0, high=10)  # how often it is told its faults
    environment: list[str] = field(default_factory=lambda: ["HOME", "LANG", "PATH"])  # the variables that it gets
    instructions: str | None = None  # a file of a person's own, added to the protocol's


@dataclass
class TrialId:
    """Which trial of which study a worker trains; the sweeper sets it."""

    study: str | None = None
    number: int | None = None
    attempt: int = 1
    slot: int = 0
    folder: str = "unused"  # of the trial's files, below the sweep's
    alone: bool = False  # no other trial trains beside it: it has the memory of all slots


@dataclass
class Config(TrialConfig):
    """The root of the composed config."""

    outputs_dir: str = "outputs"
    sweep: SweepName = field(default_factory=SweepName)
    blocks: Blocks = field(default_factory=Blocks)
    search_space: SearchSpace = field(default_factory=SearchSpace)
    sampler: dict[str, Any] = field(default_factory=dict)
    agent: Agent = field(default_factory=Agent)
    pauses_at: list[int] = field(default_factory=list)  # reports where a trial waits for the sampler to say: go on
    pruner: dict[str, Any] = field(default_factory=dict)
    tracking: Tracking = field(default_factory=Tracking)
    storage: Storage = field(default_factory=Storage)
    cluster: Cluster = field(default_factory=Cluster)
    trial: TrialId = field(default_factory=TrialId)


ADDRESSES = ("storage.url", "tracking.uri")  # that may hold a password: no job is told, nor any file
