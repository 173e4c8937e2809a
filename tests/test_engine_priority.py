"""Who runs first: the threads that compute give way to the rest of the process."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from auricle.engine.priority import NICER, give_way
from auricle.engine.workers import Workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux alone")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_thread_gives_way_alone() -> None:
    before, found = niceness(), []

    def work() -> None:
        give_way()
        found.append(niceness())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [min(19, before + NICER)]
    assert niceness() == before


async def test_the_workers_give_way() -> None:
    workers = Workers(1)
    try:
        assert await workers.call(niceness) == min(19, niceness() + NICER)
    finally:
        workers.close()
