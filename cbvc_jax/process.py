"""Memory of this process: what it has taken, giving back what it has freed, and in how large pages it is given."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

KEEPING = {"hugetlb": 1, "mmap_max": 0, "trim_threshold": 1 << 40}
"""What glibc is told: memory that was freed, however much, stays with the process, in huge pages."""


def peak_bytes() -> int:
    """Largest resident size so far, with those of the processes that this one has started and that still run.

    Linux's `ru_maxrss` outlives exec: it may be that of whoever started us. Elsewhere other processes are not counted.
    """
    own = Path("/proc/self")
    if (own / "status").exists():
        children = {c for file in own.glob("task/*/children") for c in file.read_text().split()}
        return sum(_peak(folder) for folder in (own, *(Path("/proc", child) for child in children)))
    import resource  # Windows has none, and can code video without

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def release_freed() -> None:
    """Gives the memory that was freed back to the system, where the C library is glibc, which would keep much of it.

    Buffers of some MiB that are taken and freed for every frame come to lie between smaller ones on its heaps, which
    grow by what does not fit between. Takes about a millisecond.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


def restart_keeping_memory() -> None:
    """Starts a program again, once and as it was started, with large arrays in huge pages, and kept for the next ones
    when they are freed; nothing where that is not Linux, or where glibc has been told something already.

    A training step takes hundreds of MiB anew. In pages of 4 KiB a fifth to a third of its time goes into having them
    mapped, in huge ones a twentieth. Only glibc's own settings change that, and it reads them when a process starts.
    """
    if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(f"glibc.malloc.{name}={value}" for name, value in KEEPING.items())
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@functools.cache
def _trim() -> Callable[[int], int] | None:
    # No `malloc_trim` in other C libraries; none at all under the name None on Windows.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        return ctypes.CDLL(None).malloc_trim
    return None


def _peak(folder: Path) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in (folder / "status").read_text().splitlines():
            # A process that has ended and was not waited for has no memory.
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    return 0
