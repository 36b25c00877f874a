"""Three codebook sizes of the mini preset, as a sweep."""

from collections.abc import Iterator
from typing import Any

CONFIG = "tests/training/mini.py"


def get_sweep() -> Iterator[tuple[str, dict[str, Any]]]:
    for first in (8, 16, 32):
        yield f"k{first}", {"codebook.key_sizes": (first, 16, 8), "codebook.predicted_sizes": (first, 16, 8)}
