"""What a run was made on, and who else was busy meanwhile."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

SERVER_CPU, CLIENT_CPU = 0, 1

_FILES = 20_000
_TICKS = os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None, use_errno=True)


def describe() -> dict[str, str | int]:
    """The machine's kind, and the versions of what the figures depend on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal: *(\d+)", Path("/proc/meminfo").read_text())
    packages = ("logui-tx", "twisted", "autobahn", "msgspec", "zstandard")
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_mb": int(memory[1]) // 1024 if memory else 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{package: version(package) for package in packages},
    }


def stay_on(cpu: int) -> None:
    """Keep this process, and those that it starts, on one processor, where there are several."""
    if (os.cpu_count() or 1) > max(SERVER_CPU, CLIENT_CPU):
        os.sched_setaffinity(0, {cpu})


@contextmanager
def anywhere() -> Iterator[None]:
    """What is started within may run on any processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def allow_many_files() -> int:
    """Raise the limit of open files as far as it goes, or to what is needed; the limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if os.geteuid() == 0:
        hard = max(hard, _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, user and system, all its threads, to the nanosecond."""
    clock = ctypes.c_int()
    error = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


def memory_kb(pid: int, field: str = "VmRSS") -> int:
    """Resident memory, or with ``VmHWM`` the most that it ever was."""
    found = re.search(rf"{field}:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


def busy_seconds() -> float:
    """CPU time that the whole machine has spent on anything, and that its host kept from it."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS
