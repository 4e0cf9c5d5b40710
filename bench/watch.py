"""Memory and processor time of a program and all that it starts, looked at every two seconds while it runs."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field

import psutil

INTERVAL_S = 2.0
TOGETHER = "all"


@dataclass
class Use:
    """What the processes of one role took: memory in bytes, shared pages by their share (PSS), and seconds of CPU."""

    one: int = 0  # the most that one process had
    together: int = 0  # the most that all had at once
    cpu_s: dict[int, float] = field(default_factory=dict)  # by process

    @property
    def seconds(self) -> float:
        return sum(self.cpu_s.values())


class Watch(threading.Thread):
    """Looks at a process and its descendants until the process is gone; `uses` then says what each role took."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self.uses: dict[str, Use] = {}
        self._views: set[int] = set()

    def run(self) -> None:
        """Until the process is gone."""
        while True:
            try:
                self._look()
                self._root.wait(INTERVAL_S)
                return
            except psutil.TimeoutExpired:
                continue
            except psutil.NoSuchProcess:
                return

    def _look(self) -> None:
        now: dict[str, int] = {}
        niceness = self._root.nice()
        for process in [self._root, *self._root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                role = self._role(process, niceness)
                use = self.uses.setdefault(role, Use())
                memory, times = process.memory_full_info().pss, process.cpu_times()
                use.one = max(use.one, memory)
                use.cpu_s[process.pid] = times.user + times.system
                now[role] = now.get(role, 0) + memory
        for role, memory in now.items():
            self.uses[role].together = max(self.uses[role].together, memory)
        whole = self.uses.setdefault(TOGETHER, Use())
        whole.together = max(whole.together, sum(now.values()))

    def _role(self, process: psutil.Process, niceness: int) -> str:
        """What a process is for the sweep. The views' one gives way to training by its niceness, until that is over."""
        if process == self._root:
            return "parent"
        if process.nice() > niceness:
            self._views.add(process.pid)
            if "workers" in self.uses:  # for which it was taken at its beginning
                self.uses["workers"].cpu_s.pop(process.pid, None)
        if process.pid in self._views:
            return "views"
        return "server" if process.ppid() == self._root.pid else "workers"
