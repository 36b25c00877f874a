"""What this process has taken."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path


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
