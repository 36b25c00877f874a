"""The peak is of this process, and grows with what it takes; what was freed can go back."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

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


FREED = """
from pathlib import Path
from cbvc_jax.process import release_freed
def resident():
    return next(int(l.split()[1]) for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmRSS"))
# Blocks below the size that glibc maps on their own; the last one keeps the heap from shrinking at its end.
blocks = [bytearray(b"x") * (100 << 10) for _ in range(640)]
del blocks[:-1]
before = resident()
release_freed()
print(before, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep nothing, or cannot be asked")
def test_what_was_freed_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before - (50 << 10)


RESTARTED = """
import os, sys
from cbvc_jax.process import restart_keeping_memory
restart_keeping_memory()
print(os.environ["GLIBC_TUNABLES"], sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is told on Linux")
@pytest.mark.parametrize("told", [None, "glibc.malloc.tcache_count=7"])
def test_a_program_starts_again_to_keep_its_memory_unless_glibc_has_been_told_something(told):
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    if told:
        environment["GLIBC_TUNABLES"] = told
    command = [sys.executable, "-c", RESTARTED, "one", "two words"]
    shown = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    kept = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776"
    assert shown.strip() == f"{told or kept} ['one', 'two words']"
