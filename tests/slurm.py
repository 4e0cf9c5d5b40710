"""Runs SLURM with two virtual nodes on this machine, from Debian's packages, during a test."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "runuser")
NODES = ("n1", "n2")
CONF = """
ClusterName=here
SlurmctldHost={host}
SlurmUser=root
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool_%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
KillWait=5
MinJobAge=300
SchedulerParameters=sched_interval=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} RealMemory=4000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


@dataclass
class Slurm:
    """SLURM's daemons, known by their pid files. They use no cgroups and no accounting, and run in containers too."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def ask(self, *command: str) -> str:
        """The output of one of SLURM's commands."""
        done = subprocess.run(
            command, env={**os.environ, **self.env}, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self, state: str) -> list[tuple[str, str]]:
        """Number and node of the jobs in a state."""
        lines = self.ask("squeue", "-h", "-t", state, "-o", "%i|%N").splitlines()
        return [(job, node) for job, node in (line.split("|") for line in lines)]

    def start(self, daemon: str, *arguments: str) -> None:
        self.ask(daemon, *arguments)

    def kill(self, name: str) -> None:
        """Kill a daemon: `slurmctld`, `slurmd.n1`, `slurmd.n2` or `munge`."""
        file = self.folder / f"{name}.pid"
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(int(file.read_text()), signal.SIGKILL)
        file.unlink(missing_ok=True)

    def wait(self, state: str = "idle", seconds: float = 120.0) -> None:
        """Wait until all nodes are in a state."""
        deadline = time.monotonic() + seconds
        while {*self.ask("sinfo", "-h", "-N", "-o", "%T").split()} != {state}:
            assert time.monotonic() < deadline, self.ask("sinfo", "-N", "-l")
            time.sleep(1)


@contextlib.contextmanager
def slurm() -> Iterator[Slurm]:
    """Yield a running SLURM, and remove all of it afterwards. Skips the test where it cannot be started."""
    if os.geteuid() != 0:
        pytest.skip("SLURM's daemons need root")
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        needed = "apt-get install --no-install-recommends slurmctld slurmd slurm-client munge"
        pytest.skip(f"{missing[0]} is not installed (Debian: {needed})")
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as name:
        own = Slurm(Path(name))
        own.folder.chmod(0o755)
        _configure(own.folder)
        try:
            own.start("slurmctld")
            for node in NODES:
                own.start("slurmd", "-N", node)
            own.wait()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"SLURM does not start here: {error}")
        try:
            yield own
        finally:
            with contextlib.suppress(AssertionError):
                own.ask("scancel", "-u", "root")
                time.sleep(2)
            for daemon in ("slurmctld", *(f"slurmd.{node}" for node in NODES), "munge"):
                own.kill(daemon)


def _configure(folder: Path) -> None:
    munge = folder / "munge"
    munge.mkdir(mode=0o755)
    key = munge / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    for path in (munge, key):
        shutil.chown(path, "munge", "munge")
    command = ["runuser", "-u", "munge", "--", "munged", "--force", f"--key-file={key}", f"--socket={munge}/socket"]
    command += [f"--pid-file={munge}/munge.pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"munge does not start here: {done.stderr}")
    (folder / "munge.pid").symlink_to(munge / "munge.pid")
    for own in ("state", *(f"spool_{node}" for node in NODES)):
        (folder / own).mkdir()
    with contextlib.ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in free:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in free]
    host = platform.node().split(".")[0]
    (folder / "slurm.conf").write_text(CONF.format(host=host, folder=folder, ports=ports, cpus=os.cpu_count()))
