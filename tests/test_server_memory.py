"""The allocator's and the collector's settings: large blocks are used again or given back, imports not looked at."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

SCRIPT = """
import resource
from auricle.serve.memory import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        messages = [bytes(block) for _ in range(8)]
        del messages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

block = bytearray(2_000_000)
assert keep_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_large_blocks_that_were_freed_cost_no_page_faults() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    # 80 blocks of 488 pages, eight at a time: given back each time, they would fault tens of thousands of times.
    assert int(done.stdout) < 1000


FREED = """
from pathlib import Path
from auricle.serve.memory import give_memory_back, keep_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

assert keep_memory()
before = resident()
blocks = [bytearray(2_000_000) for _ in range(16)]
last = bytearray(100_000)  # above them in the heap
del blocks
held = resident()
assert give_memory_back()
print(before, held, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_freed_memory_is_given_back_when_asked() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    before, held, after = map(int, done.stdout.split())
    taken = 16 * 2_000_000 // resource.getpagesize()
    assert held - before > 0.9 * taken
    assert after - before < 0.1 * taken


IMPORTED = """
import gc
import auricle.serve.lifecycle
from auricle.serve.memory import pass_over_imports
before = len(gc.get_objects())
pass_over_imports()
print(before, len(gc.get_objects()))
"""


def test_the_collector_passes_over_what_was_imported() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    before, left = map(int, done.stdout.split())
    assert left < before / 100
