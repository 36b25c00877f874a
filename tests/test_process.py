"""The peak is of this process, and grows with what it takes."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from cbvc_jax.process import peak_bytes
before = peak_bytes()
taken = bytearray(b"x") * (64 << 20)
after = peak_bytes()
del taken
print(before, after, peak_bytes())
"""


def test_the_peak_counts_what_was_taken_and_does_not_sink():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    before, after, later = map(int, done.stdout.split())
    assert before < 64 << 20
    # The kernel counts pages in batches.
    assert after > before + (60 << 20)
    assert later > after - (4 << 20)
