"""Measures memory and CPU time of a program and all processes that it starts, every two seconds."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field

import psutil

INTERVAL_S = 2.0
ALL = "all"


@dataclass
class ResourceUse:
    """The memory (bytes, PSS: shared pages count by their share) and CPU time of the processes of one role."""

    one: int = 0  # peak memory of a single process
    together: int = 0  # peak memory of all of them at once
    cpu_s: dict[int, float] = field(default_factory=dict)  # by process id

    @property
    def seconds(self) -> float:
        return sum(self.cpu_s.values())


class ResourceWatch(threading.Thread):
    """Measures a process and its descendants until the process ends; `uses` then has what each role used."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self.uses: dict[str, ResourceUse] = {}
        self._views: set[int] = set()

    def run(self) -> None:
        while True:
            try:
                self._measure()
                self._root.wait(INTERVAL_S)
                return
            except psutil.TimeoutExpired:
                continue
            except psutil.NoSuchProcess:
                return

    def _measure(self) -> None:
        now: dict[str, int] = {}
        niceness = self._root.nice()
        for process in [self._root, *self._root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                role = self._role(process, niceness)
                use = self.uses.setdefault(role, ResourceUse())
                memory, times = process.memory_full_info().pss, process.cpu_times()
                use.one = max(use.one, memory)
                use.cpu_s[process.pid] = times.user + times.system
                now[role] = now.get(role, 0) + memory
        for role, memory in now.items():
            self.uses[role].together = max(self.uses[role].together, memory)
        whole = self.uses.setdefault(ALL, ResourceUse())
        whole.together = max(whole.together, sum(now.values()))

    def _role(self, process: psutil.Process, niceness: int) -> str:
        """The role of a process. The one that makes the views is known by its niceness, while trials train."""
        if process == self._root:
            return "parent"
        if process.nice() > niceness:
            self._views.add(process.pid)
            if "workers" in self.uses:  # it was counted as one when it started
                self.uses["workers"].cpu_s.pop(process.pid, None)
        if process.pid in self._views:
            return "views"
        return "server" if process.ppid() == self._root.pid else "workers"
