"""Threads for work that blocks."""

from __future__ import annotations

from functools import partial
from threading import Thread

from twisted.python.threadpool import ThreadPool


def daemon_pool(name: str, most: int) -> ThreadPool:
    """A pool, to be started and stopped; a server that fails before it stops it still ends."""
    pool = ThreadPool(minthreads=1, maxthreads=most, name=name)
    pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
    return pool
