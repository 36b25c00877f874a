"""What memory this process has taken, and how it takes it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of `mallopt`."""
MMAP_THRESHOLD = 4 << 20
TRIM_THRESHOLD = 32 << 20


def keep_heap_small() -> bool:
    """Whether large buffers are returned to the system from now on, each as it is freed: with glibc, unless the user says.

    glibc takes buffers of up to 32 MiB from its heaps once one of that size has been freed. Those of a frame then lie
    between small ones that last longer, in another order each time, and the heaps grow: peaks come to depend on chance,
    and on how many frames chance has had.
    """
    told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if told or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD), mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)])


def peak_bytes() -> int:
    """Largest resident size so far, with those of the processes that this one has started and that still run.

    Linux's `ru_maxrss` outlives exec: it may be that of whoever started us. Elsewhere other processes are not counted.
    """
    own = Path("/proc/self")
    if (own / "status").exists():
        children = {c for file in own.glob("task/*/children") for c in file.read_text().split()}
        return sum(_peak(folder) for folder in (own, *(Path("/proc", child) for child in children)))
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _peak(folder: Path) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in (folder / "status").read_text().splitlines():
            # A process that has ended and was not waited for has no memory.
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    return 0
