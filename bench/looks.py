"""Names what a sweep's own process does: its main thread is looked at fifty times a second.

    python bench/looks.py FILE -m blocks=demo        what `python -m siren_sweep -m blocks=demo` does, and FILE of looks

FILE holds pairs, as JSON: a time in seconds since 1970, and the function of this package that the thread was in.
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


class Looks(threading.Thread):
    """Looks at a thread until it is told that all is over."""

    def __init__(self, thread_id: int) -> None:
        super().__init__(daemon=True)
        self._thread_id = thread_id
        self._over = threading.Event()
        self.seen: list[tuple[float, str]] = []

    def run(self) -> None:
        """Until `end`."""
        while not self._over.wait(INTERVAL_S):
            self.seen.append((time.time(), place(sys._current_frames().get(self._thread_id))))

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


def place(frame: FrameType | None) -> str:
    """`sweep.slots._wait`: the innermost function of this package; `imports` where that imports something."""
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
    looks = Looks(threading.main_thread().ident or 0)
    looks.start()
    try:
        runpy.run_module("siren_sweep", run_name="__main__", alter_sys=True)
    finally:
        looks.end()
        file.write_text(json.dumps(looks.seen))


if __name__ == "__main__":
    main()
