"""The peak is of this process, and grows with what it takes."""

from __future__ import annotations

import subprocess
import sys

from cbvc_jax.process import peak_bytes

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


def test_the_peak_counts_processes_that_run_beside():
    taking = "import sys; taken = bytearray(b'x') * (64 << 20); print(flush=True); sys.stdin.read()"
    before = peak_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", taking], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        child.stdout.readline()
        assert peak_bytes() > before + (60 << 20)
        child.stdin.close()
