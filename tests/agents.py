"""Agents for tests: `python agents.py NAME` runs one in the folder of a batch, with the prompt on standard input.

`behave` does what it should, `learn` corrects its faults, and the others do what an agent must not do.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

OMEGA = re.compile(r"(?m)^(\s*omega_f: ).*$")
HERE = Path()


def configs() -> list[Path]:
    """The config files that the agent may edit."""
    return sorted(path for path in HERE.glob("*.yaml") if re.fullmatch(r".*_\d\d\.yaml", path.name))


def set_omega(file: Path, omega: object) -> None:
    file.write_text(OMEGA.sub(rf"\g<1>{omega}", file.read_text()))


def best_omega() -> float:
    """The omega of the iteration with the highest R2 in the log."""
    text = next(HERE.glob("*_analysis.md")).read_text()
    entries = re.findall(r"omega=([\d.e+]+).*\n.*final_r2=([-\d.e]+|nan)", text)
    rated = [(float(r2), float(omega)) for omega, r2 in entries if r2 != "nan"]
    return max(rated, default=(0.0, 20.0))[1]


def behave(prompt: str) -> None:
    """Vary omega around its best value so far, state hypotheses, and write a note."""
    centre, start = best_omega(), "PARALLEL START" in prompt
    used = {float(one) for one in re.findall(r"omega=([\d.e+]+)", next(HERE.glob("*_analysis.md")).read_text())}
    values = [centre * factor for factor in (1, 2, 0.5, 1.5, 3, 0.7, 1.2, 0.8) if round(centre * factor, 6) not in used]
    stated = ""
    for file, omega in zip(configs(), values, strict=False):
        set_omega(file, round(omega, 6))
        number = file.stem[-2:]
        stated += f'"{number}":\n  hypothesis: omega_f {omega:g} resolves more\n  falsified_by: a lower R2\n'
    Path("hypotheses.yaml").write_text(stated)
    memory = next(HERE.glob("*_memory.md"))
    note = "First look at omega." if start else f"The best omega is {centre:g}."
    memory.write_text(memory.read_text() + f"{note} Verdict: supported\n")
    print(f"asked: {prompt.splitlines()[0]}")


def learn(prompt: str) -> None:
    """Set omega above its bound; when the prompt reports this, set it within the bound."""
    told = "has faults" in prompt and "omega_f must lie in" in prompt
    for index, file in enumerate(configs()):
        set_omega(file, 10 + index if told else 5000)


def hang(prompt: str) -> None:
    """Never end, and start a child process in a session of its own that never ends either."""
    subprocess.Popen([sys.executable, "-S", "-E", __file__, "sleep"], start_new_session=True)
    set_omega(configs()[0], 77)
    print("hanging", flush=True)
    time.sleep(1000)


def hang_once(prompt: str) -> None:
    """Never end at the first request; behave at later ones."""
    hung = HERE.absolute().parents[1] / "hung"
    if not hung.exists():
        hung.touch()
        hang(prompt)
    behave(prompt)


def crash(prompt: str) -> None:
    set_omega(configs()[0], 77)
    sys.exit(3)


def broken(prompt: str) -> None:
    """Write several kinds of text that is no config, and broken hypotheses."""
    texts = ["graph_model: [", "a: &a [1]\nb: [*a, *a]\n", "[" * 60000, "\x00\xff"]
    for file, text in zip(configs(), texts, strict=False):
        file.write_bytes(text.encode("latin-1"))
    Path("hypotheses.yaml").write_text('"00": {hypothesis: [1], parent: x}\n"09": late\n')


def same(prompt: str) -> None:
    for file in configs():
        set_omega(file, 50)


def forbid(prompt: str) -> None:
    """Change values and keys that an agent must not change. The last config is right."""
    one, two, three, four = configs()
    set_omega(four, 50)
    two.write_text(two.read_text().replace("n_training_frames: 4", "n_training_frames: 100"))
    if "PARALLEL START" in prompt:
        one.write_text(one.read_text() + "dataset:\n  path: /etc/passwd\n")
        three.write_text(three.read_text().replace("graph_model:\n", "graph_model:\n  seed: 1\n"))


def flood_output(prompt: str) -> None:
    for index, file in enumerate(configs()):
        set_omega(file, 10 + index)
    for _ in range(100):
        os.write(1, b"x" * (1 << 20))


def flood_files(prompt: str) -> None:
    with open("large", "wb") as file:
        for _ in range(1000):
            file.write(b"x" * (1 << 20))
            time.sleep(0.001)
    time.sleep(1000)


def link(prompt: str) -> None:
    """Replace a config, the memory and the hypotheses by links to a file, and two configs by a pipe and a folder."""
    one, two, three, four = configs()
    secret = HERE.absolute().parents[1] / "secret.yaml"
    set_omega(four, 50)
    if "PARALLEL START" not in prompt:
        return  # it corrects nothing
    for file in (one, next(HERE.glob("*_memory.md")), Path("hypotheses.yaml")):
        file.unlink()
        file.symlink_to(secret)
    two.unlink()
    os.mkfifo(two)
    three.unlink()
    three.mkdir()


def ask_for_a_path(prompt: str) -> None:
    """Write text that a careless sweep would expand, open as a path, or read as its own markers."""
    text = "{folder}/../../secret.yaml ${prompt} /etc/passwd >>> BLOCK END <<< # PARALLEL START"
    for index, file in enumerate(configs()):
        set_omega(file, 10 + index if index else repr(text))
    Path("hypotheses.yaml").write_text(f"'01': {text!r}\n'../../secret': {text!r}\n")
    memory = next(HERE.glob("*_memory.md"))
    memory.write_text(memory.read_text() + f"\n### Established Principles\n\n- {text}\n")
    print(f"the environment: {sorted(os.environ)}; arguments: {sys.argv[2:]}")


def silent(prompt: str) -> None:
    """Edit nothing."""


PROGRAMS: dict[str, Callable[[str], None]] = {
    program.__name__: program
    for program in (
        *(behave, learn, hang, hang_once, crash, broken, same, forbid),
        *(flood_output, flood_files, link, ask_for_a_path, silent),
    )
}

if __name__ == "__main__":
    if sys.argv[1] == "sleep":
        time.sleep(1000)
    else:
        PROGRAMS[sys.argv[1]](sys.stdin.read())
