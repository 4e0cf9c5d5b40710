"""Overrides that nobody meant: each is taken, or refused with one message; never a traceback."""

from __future__ import annotations

import random

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from siren_sweep.cli.main import conf_dir, typed
from siren_sweep.config.overrides import explain, overrides_in
from siren_sweep.config.parameters import EXPLORABLE
from siren_sweep.sweep import checks

KEYS = [
    *EXPLORABLE,
    "training.n_training_frames",
    "training.seed",
    "training.sampling",
    "claude.strategy",
    "blocks.schedule",
    "blocks",
    "sampler",
    "pruner",
    "search_space.params",
    "search_space.start",
    "sweep.name",
    "storage.url",
    "tracking.uri",
    "outputs_dir",
    "dataset.path",
    "trial.number",
    "no.such.key",
    "graph_model",
    "experiment",
    "",
]
VALUES = [
    "3", "-1", "0", "1e-4", "1e400", "nan", "inf", ".5", "0x10", "1_000", "true", "null", "''", '""', "a b", "ü",
    "\\", "$", "${x}", "${oc.env:HOME}", "${outputs_dir}", "choice(3,4)", "choice()", "choice(a,b)", "range(1,5)",
    "range(5,1)", "range(1,9,0)", "interval(1,5)", "interval(5,1)", "interval(0,0)", "tag(log,interval(1e-5,1))",
    "tag(log,interval(0,1))", "tag(log,choice(1,2))", "glob(*)", "shuffle(1,2)", "sort(3,1)", "1,2", "1,,2", "[1,2]",
    "[", "]", "{a:1}", "{", "}", "[{n_training_frames:4,total_steps:40}]", "[{n_training_frames:1,total_steps:1}]",
    "[3]", "tpe", "random", "tiny", "cast(", "int(3)", "float(a)", "str([1])", "extend_list(3)", "=", "==", "@", ":",
    "~", "+", "++", "(", ")", ",", " ", "\n", "9" * 400, "choice(" * 20, "x" * 300,
]  # fmt: skip
PREFIXES = ["", "", "", "", "+", "++", "~", "@", "/", "hydra.", "hydra/"]


def drawn(rng: random.Random) -> str:
    value = "".join(rng.choices(VALUES, k=rng.choice((1, 1, 1, 2, 3))))
    return f"{rng.choice(PREFIXES)}{rng.choice(KEYS)}{rng.choice(('=', '=', '=', '=', ''))}{value}"


def is_refused(text: str) -> bool:
    """Whether an override of a sweep is refused, by Hydra's grammar or by us."""
    try:
        faults = checks.sort_overrides(overrides_in([text]) or [""]).faults
    except HydraException as error:
        faults = [str(error)]
    assert all(fault.strip() for fault in faults)
    return bool(faults)


def what_hydra_falls_over(text: str) -> str | None:
    """The message for an override that cannot be composed; None for one that can."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(conf_dir(), version_base="1.3"):
            typed(compose("config", [text]))
    except Exception as error:  # Hydra has errors of its own kinds for some of these, and Python's for others
        return explain(error, [text]) or f"not told as a mistake: {error!r}"
    return None


def test_ten_thousand_overrides_are_each_sorted_or_refused() -> None:
    rng = random.Random(1)
    n_refused = sum(is_refused(drawn(rng)) for _ in range(10_000))
    assert 2_000 < n_refused < 9_000


def test_an_exception_in_hydra_is_reported_as_a_mistake() -> None:
    rng = random.Random(2)
    texts = ["~blocks=true", "blocks.schedule=[", *(drawn(rng) for _ in range(150))]
    messages = [message for text in texts if (message := what_hydra_falls_over(text)) is not None]
    assert len(messages) > 50
    assert all(message and "not told as a mistake" not in message for message in messages)
