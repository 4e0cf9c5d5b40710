"""An example of an agent for `proposer=agent`: a program that proposes the configs of a sweep by hill climbing.

    siren-sweep -m proposer=agent 'agent.command=[/full/path/of/python,/full/path/of/examples/agent.py]'

The sweep runs it once for each batch, in a folder with the batch's configs and all results so far. In the first batch
of a block it keeps the config that the block starts from. In later batches it takes the best iteration and the one with
the highest UCB score, and changes omega_f or the learning rate by a factor. It states a hypothesis for each config,
writes a note into the memory, and ends. It needs PyYAML.
"""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path
from typing import Any

import yaml

KEYS = {  # section and key of each parameter, by its name in the log
    "hidden_dim": ("graph_model", "hidden_dim_nnr_f"),
    "n_layers": ("graph_model", "n_layers_nnr_f"),
    "omega": ("graph_model", "omega_f"),
    "T_period": ("graph_model", "nnr_f_T_period"),
    "xy_period": ("graph_model", "nnr_f_xy_period"),
    "window_frames": ("graph_model", "window_frames"),
    "lr": ("training", "learning_rate_NNR_f"),
    "batch_size": ("training", "inr_batch_size"),
    "total_steps": ("claude", "total_steps"),
}
STEPS = [(name, factor) for up in (2.0, 1.4, 1.2, 4.0) for factor in (up, 1 / up) for name in ("omega", "lr")]

Values = dict[str, float]


class Batch:
    """The files of the folder: the configs that it edits, and the results so far."""

    def __init__(self) -> None:
        self.sweep = next(Path().glob("*_instructions.md")).name.removesuffix("_instructions.md")
        self.files = sorted(Path().glob(f"{self.sweep}_[0-9][0-9].yaml"))
        self.configs: list[dict[str, Any]] = [yaml.safe_load(file.read_text()) for file in self.files]
        self.stated: dict[str, dict[str, Any]] = {}

    def text(self, kind: str) -> str:
        """The text of one of the sweep's files, such as `memory.md`."""
        return Path(f"{self.sweep}_{kind}").read_text()

    def values(self, place: int) -> Values:
        """The parameters of the config at a place in `files`, by their names in the log."""
        config = self.configs[place]
        return {name: config[section][key] for name, (section, key) in KEYS.items() if key in config[section]}

    def iteration(self, place: int) -> int:
        """The iteration as which a config will run, which the first line of its file names."""
        return int(self.files[place].read_text().partition("iteration ")[2].partition(".")[0])

    def ran(self) -> dict[int, tuple[float, Values]]:
        """R2 and parameters of each iteration that has run in this block, read from the log."""
        found = {}
        for entry in self.text("analysis.md").split("\n## Iter ")[1:]:
            lines = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line)
            values = {name: float(value) for name, value in re.findall(r"(\w+)=([\d.e+-]+)", lines["Config"])}
            r2 = re.match(r"\w+_r2=([\d.e+-]+)", lines["Metrics"])  # final_r2, or sample_r2 over some windows
            xy_period = re.search(r"xy_period ([\d.e+-]+)", lines["Observation"])
            if r2 and xy_period and values.pop("n_frames") == self.configs[0]["training"]["n_training_frames"]:
                found[int(entry.partition(":")[0])] = float(r2[1]), values | {"xy_period": float(xy_period[1])}
        return found

    def favoured(self) -> list[int]:
        """The iterations by their UCB scores, the highest first."""
        return [int(node) for node in re.findall(r"(?m)^Node (\d+):", self.text("ucb_scores.txt"))]

    def allows(self, name: str, value: float) -> bool:
        """Whether a parameter may have this value in this block, by the table in the instructions."""
        row = rf"\| `{KEYS[name][1]}` \| \w+ \| ([\d.e+-]+) \.\. ([\d.e+-]+) \|"
        bounds = re.search(row, self.text("instructions.md"))
        return bool(bounds) and float(bounds[1]) <= value <= float(bounds[2])

    def write(self, place: int, values: Values, **stated: Any) -> None:
        """Write these values into a config, and keep what is `stated` about it: its hypothesis and its parent."""
        for name, value in values.items():
            section, key = KEYS[name]
            if key in self.configs[place][section]:
                self.configs[place][section][key] = int(value) if value == int(value) else value
        self.files[place].write_text(yaml.safe_dump(self.configs[place], sort_keys=False))
        self.stated[self.files[place].stem[-2:]] = stated


def climb(batch: Batch) -> str:
    """Plan the batch; returns a note on the results."""
    ran, places = batch.ran(), range(len(batch.files))
    if ran:
        best = max(ran, key=lambda iteration: ran[iteration][0])
        starts = {one: ran[one][1] for one in (best, *batch.favoured()[:1])}
        seen = {rounded(values) for _, values in ran.values()}
        note = f"The best is iteration {best}, R2 {ran[best][0]:.6g}; next: omega_f and the rate about it."
    else:
        starts, seen = {batch.iteration(0): batch.values(0)}, set[tuple[str, ...]]()
        note = "A block begins: what it starts from, and omega_f and the rate about it."
    new = new_values(batch, starts)
    for place in places:
        own = rounded(batch.values(place))
        if not ran and own not in seen:
            seen.add(own)
            batch.write(place, {}, hypothesis="What a block starts from is near the best.")
            continue
        parent, name, values = next((one for one in new if rounded(one[2]) not in seen), (0, "", {}))
        if parent:
            seen.add(rounded(values))
            said = f"{KEYS[name][1]} {starts[parent][name]:g} -> {values[name]:g} improves final_r2."
            batch.write(place, values, hypothesis=said, parent=parent)
    return note


def new_values(batch: Batch, starts: dict[int, Values]) -> list[tuple[int, str, Values]]:
    """The configs one step away from each start, as (iteration of the start, changed parameter, values)."""
    found = []
    for (name, factor), (parent, start) in itertools.product(STEPS, starts.items()):
        value = float(f"{start[name] * factor:.3g}")
        if batch.allows(name, value):
            found.append((parent, name, start | {name: value}))
    return found


def rounded(values: Values) -> tuple[str, ...]:
    """The values as text with five digits, by which configs are compared: the log has six digits of a value."""
    return tuple(f"{values.get(name, 0):.5g}" for name in KEYS)


def main() -> None:
    """Read the prompt, plan the batch, and write the hypotheses and a note."""
    prompt, batch = sys.stdin.read(), Batch()
    if "has faults" in prompt:
        return  # it cannot do better; the sweep's sampler replaces the configs with faults
    note = climb(batch) if batch.files else "The sweep is over."
    Path("hypotheses.yaml").write_text(yaml.safe_dump(batch.stated, width=1000))
    memory = Path(f"{batch.sweep}_memory.md")
    memory.write_text(f"{memory.read_text()}\n- {note}\n")  # its last section is for such notes
    print(note)


if __name__ == "__main__":
    main()
