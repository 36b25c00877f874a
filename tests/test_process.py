"""The peak is of this process, and grows with what it takes."""

from __future__ import annotations

import numpy as np

from cbvc_jax.process import peak_bytes


def test_the_peak_counts_what_was_taken_and_does_not_sink():
    before = peak_bytes()
    taken = np.ones(before // 4, np.float64)
    after = peak_bytes()
    assert after > before + before // 2
    del taken
    # The kernel counts pages in batches.
    assert peak_bytes() > 0.95 * after
