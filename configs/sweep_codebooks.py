"""Three codebook sizes of a small model: what a larger first stage buys.

A sweep names the configuration that it changes, and yields (name, changes) for every task.
"""

from collections.abc import Iterator
from typing import Any

CONFIG = "configs/tiny.py"


def get_sweep() -> Iterator[tuple[str, dict[str, Any]]]:
    for first in (512, 2048, 8192):
        sizes = (first, 512, 128)
        yield f"k{first}", {"codebook.key_sizes": sizes, "codebook.predicted_sizes": sizes, "rates": ("high",)}
