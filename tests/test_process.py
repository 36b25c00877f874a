"""The peak is of this process, and grows with what it takes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from cbvc_jax.process import keep_heap_small, peak_bytes

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


HEAP = """
import ctypes, sys
from cbvc_jax.process import keep_heap_small
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks".split()]
    _fields_ += [(name, ctypes.c_size_t) for name in "uordblks fordblks keepcost".split()]
read = ctypes.CDLL(None).mallinfo2
read.restype = Info
if sys.argv[1] == "small":
    assert keep_heap_small()
for _ in range(2):
    before = read().hblkhd
    taken = bytearray(12 << 20)
    after = read().hblkhd
    del taken
print(after - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
def test_large_buffers_stay_off_the_heap():
    def mapped(way: str, **options: str) -> int:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
        command = [sys.executable, "-c", HEAP, way]
        done = subprocess.run(command, env=env | options, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert mapped("small") >= 12 << 20
    # What glibc does by itself, from the second buffer on.
    assert mapped("plain") == 0


def test_what_the_user_says_of_the_heap_holds(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert not keep_heap_small()


def test_the_peak_counts_processes_that_run_beside():
    taking = "import sys; taken = bytearray(b'x') * (64 << 20); print(flush=True); sys.stdin.read()"
    before = peak_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", taking], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        child.stdout.readline()
        assert peak_bytes() > before + (60 << 20)
        child.stdin.close()
