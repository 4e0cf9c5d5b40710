"""The structured configs behind `conf/`: every parameter's name, type, unit and bounds, in one place.

They are plain dataclasses of the standard library, so that the engine reads them on a machine without Hydra. A bound is
field metadata: `low` and `high` are inclusive, `above` is exclusive. `checks` compares values with them.
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

# The metrics of a finished run, in the order in which they are printed.
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
# A trial that trained only a sample of its windows has these in place of the final metrics: exact over the sample.
SAMPLE_NAMES = {
    "r2": "sample_r2",
    "r2_se": "sample_r2_se",
    "mse": "sample_mse",
    "pearson_r2": "sample_pearson_r2",
    "n_trained": "sample_windows",
    "n_windows": "n_windows",
    "whole_time_min": "whole_time_min",
}
N_REPORTS = 20  # equal fractions of total_steps; at each one a run is evaluated, and may be ended


def bounded(default: Any, **bounds: Any) -> Any:
    """A dataclass field with `low`, `high` (inclusive), `above` (exclusive) or `unit` in its metadata."""
    return field(default=default, metadata=bounds)


def explorable(
    default: Any, short: str, about: str, *, ratio: str | None = None, most: float = 0, **bounds: Any
) -> Any:
    """A `bounded` field that a sweep may vary; `parameters` makes a `Parameter` of it.

    `short` is its name in the record, `about` its description for an agent. A parameter whose best value grows with the
    number of frames is searched as a ratio, above 0 and at most `most`: `ratio` is the name of that dimension, and
    `search.space` says what it is a ratio to.
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
    """The SIREN (t, x, y) -> luminance; the names are those of existing config files."""

    inr_type: str = "siren_txy"
    hidden_dim_nnr_f: int = explorable(
        128, "hidden_dim", "width of the hidden layers; parameters and time grow with its square", low=4, high=8192
    )
    n_layers_nnr_f: int = explorable(5, "n_layers", "number of hidden sine layers", low=1, high=32)
    omega_f: float = explorable(
        80.0,
        "omega",
        "base frequency of the sine activations; a higher one resolves finer detail and needs a lower learning rate",
        above=0,
        high=65536,
    )
    nnr_f_T_period: float = explorable(
        1.0,
        "T_period",
        "frames over which the network's t grows by 2 pi; about as many as the network is trained on",
        above=0,
        unit="frames",
        ratio="T_period_ratio",
        most=1e6,
    )
    nnr_f_xy_period: float = explorable(
        1.0,
        "xy_period",
        "lattice spacings over which the network's x and y grow by 2 pi",
        above=0,
        unit="lattice spacings",
    )
    window_frames: int = explorable(
        0,
        "window_frames",
        "frames of a window, which has a network of its own; 0: one network over all frames",
        low=0,
        unit="frames",
    )


@dataclass
class Training:
    """One training run."""

    n_training_frames: int = bounded(10, low=2)
    learning_rate_NNR_f: float = explorable(1e-4, "lr", "learning rate of Adam", above=0, high=1.0)
    inr_batch_size: int = explorable(8, "batch_size", "frames in one step's batch", low=1, unit="frames")
    sampling: Sampling = Sampling.points
    lr_schedule: LrSchedule = LrSchedule.warm_cosine
    adam_beta2: float = bounded(0.95, above=0, high=0.99999)  # decay of Adam's mean of squared gradients
    turn_limit: float = bounded(0.35, low=0)  # highest omega x norm of a hidden layer's update; 0: no limit
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
    """The search's budget; the group has the name that it has in existing config files."""

    total_steps: int = explorable(
        5000, "total_steps", "steps of a training run", low=N_REPORTS, ratio="total_steps_ratio", most=100
    )
    n_parallel: int = bounded(4, low=1, high=64)  # configs in a batch, and slots that train them
    n_iter_block: int = bounded(12, low=1)  # full trials whose steps a block may take
    ucb_c: float = bounded(1.414, low=0)  # c of the tree's UCB: the weight of exploration
    time_budget_min: float = bounded(60.0, above=0)  # of one trial
    strategy: Strategy = Strategy.auto
    n_validation_seeds: int = bounded(2, low=0, high=32)  # other seeds with which a block's winner is trained again
    solved_r2: float | None = bounded(0.9999, above=0, high=1)  # from this R2 on the cheaper config wins; null: never
    search_windows: int = bounded(16, low=0)  # windows that a trial of a sweep trains; 0: all


@dataclass
class Block:
    """One block of the curriculum: its number of frames, and the steps of its full trials."""

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
    """The curriculum: the blocks in their order. Each has a study of its own."""

    name: str = "full"
    schedule: list[Block] = field(default_factory=list)


@dataclass
class SearchSpace:
    """What a block searches, and the config that its first batch starts from.

    The keys of `params_from` and `start_from` are numbers of frames: from that number on, their lines replace those of
    `params` and `start`.
    """

    params: dict[str, str] = field(default_factory=dict)  # a line a dimension, in Hydra's override grammar
    params_from: dict[int, dict[str, str]] = field(default_factory=dict)
    start: dict[str, float] = field(default_factory=dict)
    start_from: dict[int, dict[str, Any]] = field(default_factory=dict)
    base: dict[str, float] = field(default_factory=dict)  # values of `base=PATH.yaml`; they replace those of the start


@dataclass
class SweepName:
    """`name` is the sweep's folder under `outputs_dir`; `learn_from` is a folder of trials from which it starts."""

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
    """Trials as jobs of a cluster. Where `scheduler` is null, they run in slots of this machine."""

    scheduler: Scheduler | None = None
    partition: str | None = None  # SLURM's partition or LSF's queue; null: the cluster's default
    gpus: int = bounded(1, low=0, high=1)  # of a job; a trial trains on one
    cores: int = bounded(4, low=1, high=1024)  # of a job, and its CPU threads
    memory_gb: int = bounded(16, low=1)
    minutes: int | None = bounded(None, low=1)  # of a job; null: what claude.time_budget_min needs
    setup: list[str] = field(default_factory=list)  # lines of shell before a trial, such as "module load cuda"
    options: list[str] = field(default_factory=list)  # the scheduler's own options, such as "--account=lab"
    n_batches: int = bounded(1, low=1, high=64)  # batches that may be open at once


@dataclass
class Agent:
    """A program that proposes the configs of each batch. Where `command` is empty, there is none."""

    command: list[str] = field(default_factory=list)
    timeout_min: float = bounded(20.0, above=0, high=1440)  # of each call
    retries: int = bounded(1, low=0, high=10)  # calls with the faults of its answer
    environment: list[str] = field(default_factory=lambda: ["HOME", "LANG", "PATH"])  # names of the variables it gets
    instructions: str | None = None  # a text file of a person's own, which is added to the protocol


@dataclass
class TrialId:
    """Which trial of which study a worker trains; the sweeper sets it."""

    study: str | None = None
    number: int | None = None
    attempt: int = 1
    slot: int = 0
    folder: str = "unused"  # of the trial's files, below the sweep's folder
    alone: bool = False  # no other trial trains beside it, so it has the memory of all slots


@dataclass
class Config(TrialConfig):
    """The root of the composed config."""

    outputs_dir: str = "outputs"
    sweep: SweepName = field(default_factory=SweepName)
    blocks: Blocks = field(default_factory=Blocks)
    search_space: SearchSpace = field(default_factory=SearchSpace)
    sampler: dict[str, Any] = field(default_factory=dict)
    asked_by: str = "siren_sweep.search.proposer.OneByOne"  # how the sampler is asked for a batch
    agent: Agent = field(default_factory=Agent)
    pauses_at: list[int] = field(default_factory=list)  # reports at which a trial pauses, until the sampler resumes it
    pruner: dict[str, Any] = field(default_factory=dict)
    tracking: Tracking = field(default_factory=Tracking)
    storage: Storage = field(default_factory=Storage)
    cluster: Cluster = field(default_factory=Cluster)
    trial: TrialId = field(default_factory=TrialId)


ADDRESSES = ("storage.url", "tracking.uri")  # they may hold a password, so no job's command and no file has them
