"""Initial tables of index coding that come with a model (FORMAT.md, "Initial integers")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cbvc_jax.errors import UsageError
from cbvc_jax.geometry import GROUPS

MAX_TABLE_ENTRY = 65535

IndexTables = Mapping[str, Sequence[Sequence[npt.ArrayLike] | npt.NDArray[np.integer]]]
"""Initial tables of a model: under "key" and each rate, [stage][group] -> K integers 1 .. 65535, how often each index
is used in proportion to the others."""
CheckedTables = dict[str, tuple[npt.NDArray[np.uint16], ...]]
"""The same, [groups, K] of each stage."""


def check_tables(tables: IndexTables, sizes: Mapping[str, Sequence[int]]) -> CheckedTables:
    """The tables of every kind in `sizes`, which has the codebook sizes of each stage.

    Raises:
      UsageError: one is missing, of another length or type, or has an entry out of range.
    """
    checked: CheckedTables = {}
    for kind, of_stages in sizes.items():
        if kind not in tables or len(tables[kind]) != len(of_stages):
            raise UsageError(f"the initial tables lack a stage of '{kind}'")
        stages = []
        for size, groups in zip(of_stages, tables[kind], strict=True):
            arrays = [np.asarray(table) for table in groups]
            if len(arrays) != GROUPS or any(a.shape != (size,) or a.dtype.kind not in "iu" for a in arrays):
                raise UsageError(f"a stage of '{kind}' needs {GROUPS} initial tables of {size} integers")
            if any(a.min() < 1 or a.max() > MAX_TABLE_ENTRY for a in arrays):
                raise UsageError(f"an entry of an initial table of '{kind}' is not in 1 .. {MAX_TABLE_ENTRY}")
            stages.append(np.stack(arrays).astype(np.uint16))
        checked[kind] = tuple(stages)
    return checked


def table_of_counts(counts: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """The initial table of a codebook whose codewords were used so often: any numbers from 0 on, [..., K].

    The most frequent index has 65535, an index that was not used 1; all have 1 where nothing was counted.
    """
    counts = np.asarray(counts, np.float64)
    most = np.maximum(counts.max(axis=-1, keepdims=True), 1e-300)
    return np.clip(np.rint(counts * (MAX_TABLE_ENTRY / most)), 1, MAX_TABLE_ENTRY).astype(np.uint16)
