"""A progress bar with frames a second and time left on a terminal; silence everywhere else."""

from __future__ import annotations

import sys

from tqdm import tqdm


def progress(label: str, total: int | None, unit: str = "frame") -> tqdm:
    """A bar on standard error to call `update(units)` on; the `total` number of units may be unknown."""
    return tqdm(desc=label, total=total, unit=unit, file=sys.stderr, disable=not sys.stderr.isatty(), leave=False)


def note(text: str) -> None:
    """One line for the person at the other end, on standard error."""
    print(f"cbvc: {text}", file=sys.stderr)
