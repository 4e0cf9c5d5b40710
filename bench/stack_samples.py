"""Runs a sweep, and records fifty times a second which function its main thread is in.

    python bench/stack_samples.py FILE -m blocks=demo       runs `python -m siren_sweep -m blocks=demo`, and writes FILE

FILE is a JSON list of pairs: a time in seconds since 1970, and the function of this package that the thread was in.
"""

from __future__ import annotations

import json
import runpy
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import siren_sweep

INTERVAL_S = 0.02
PACKAGE = str(Path(siren_sweep.__file__).parent) + "/"


class StackSampler(threading.Thread):
    """Samples the stack of another thread until `end` is called."""

    def __init__(self, thread_id: int) -> None:
        super().__init__(daemon=True)
        self._thread_id = thread_id
        self._over = threading.Event()
        self.samples: list[tuple[float, str]] = []

    def run(self) -> None:
        while not self._over.wait(INTERVAL_S):
            self.samples.append((time.time(), function_of(sys._current_frames().get(self._thread_id))))

    def end(self) -> None:
        self._over.set()
        self.join()


def function_of(frame: FrameType | None) -> str:
    """The innermost function of this package in a stack, such as `sweep.slots._wait`; `imports` where it imports."""
    imports = False
    while frame is not None:
        file = frame.f_code.co_filename
        imports = imports or file.startswith("<frozen importlib")
        if file.startswith(PACKAGE):
            module = file.removeprefix(PACKAGE).removesuffix(".py").replace("/", ".")
            return "imports" if imports else f"{module}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return "imports" if imports else "elsewhere"


def main() -> None:
    file, sys.argv[1:] = Path(sys.argv[1]), sys.argv[2:]
    sampler = StackSampler(threading.main_thread().ident or 0)
    sampler.start()
    try:
        runpy.run_module("siren_sweep", run_name="__main__", alter_sys=True)
    finally:
        sampler.end()
        file.write_text(json.dumps(sampler.samples))


if __name__ == "__main__":
    main()
