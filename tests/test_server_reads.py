"""Reads: large messages are taken within a budget, in order, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from auricle.serve.payload import READ_BLOCKS, Sent
from auricle.serve.reads import BUDGET_BYTES, FIRST_BYTES, MEAN_MESSAGES, PATIENCE_S, Reads, Share
from auricle.v1 import auricle_pb2 as pb
from live import live_server, noise, pcm
from models import write_embedder

PATIENT = {"arrival_s": 3600.0, "patience_s": 3600.0}
LARGE = FIRST_BYTES


async def settle() -> None:
    """Lets every task go on as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_finds_the_budget_spent_waits_in_order() -> None:
    reads = Reads(budget_bytes=2 * LARGE, **PATIENT)
    held = [await reads.turn(), await reads.turn()]
    came: list[int] = []

    async def call(number: int) -> Share:
        share = await reads.turn()
        came.append(number)
        return share

    calls = [asyncio.create_task(call(number)) for number in range(3)]
    await settle()
    assert (came, reads.waiting) == ([], 3)
    held[0].release()
    await settle()
    assert (came, reads.waiting) == ([0], 2)
    held[1].release()
    (await calls[0]).release()
    await settle()
    assert came == [0, 1, 2]
    for task in calls:
        (await task).release()
    assert (reads.held_bytes, reads.waiting) == (0, 0)


async def test_nobody_waits_while_messages_are_small() -> None:
    reads = Reads(budget_bytes=4 * LARGE, **PATIENT)
    for _ in range(10 * MEAN_MESSAGES):
        with await reads.turn() as share:
            share.came(1000)
    shares = [await asyncio.wait_for(reads.turn(), 1.0) for _ in range(100)]
    assert reads.waiting == 0
    assert len(shares) == 100


async def test_a_message_counts_what_it_has_once_it_is_there() -> None:
    reads = Reads(budget_bytes=2 * LARGE, **PATIENT)
    small, _ = await reads.turn(), await reads.turn()
    third = asyncio.create_task(reads.turn())
    await settle()
    assert not third.done()
    small.came(1000)
    await settle()
    assert third.done()


async def test_a_message_over_the_budget_is_taken_alone() -> None:
    reads = Reads(budget_bytes=LARGE // 2, **PATIENT)
    first = await reads.turn()
    second = asyncio.create_task(reads.turn())
    await settle()
    assert not second.done()
    first.release()
    assert (await second).size == LARGE


async def test_nobody_waits_longer_than_the_patience_for_messages_that_are_not_used() -> None:
    reads = Reads(budget_bytes=LARGE, arrival_s=3600.0, patience_s=0.01)
    first = await reads.turn()
    assert (await asyncio.wait_for(reads.turn(), 10.0)).size == first.size == LARGE
    assert reads.held_bytes == 2 * LARGE


async def test_messages_that_do_not_come_keep_nobody_out() -> None:
    reads = Reads(budget_bytes=LARGE, arrival_s=0.01, patience_s=3600.0)
    silent = await reads.turn()
    await asyncio.wait_for(reads.turn(), 10.0)
    others = [asyncio.create_task(reads.turn()) for _ in range(3)]
    await asyncio.wait_for(asyncio.gather(*others), 10.0)
    assert silent.size == 0
    silent.came(LARGE)
    assert reads.held_bytes >= LARGE


async def test_a_late_message_counts_once_it_comes() -> None:
    reads = Reads(budget_bytes=LARGE, arrival_s=0.0, patience_s=3600.0)
    late = await reads.turn()
    second = await asyncio.wait_for(reads.turn(), 10.0)
    second.release()
    late.came(LARGE)
    third = asyncio.create_task(reads.turn())
    await settle()
    assert not third.done()
    late.release()
    (await asyncio.wait_for(third, 10.0)).release()
    assert (reads.held_bytes, reads.waiting) == (0, 0)


@pytest.mark.parametrize("let_in", [False, True], ids=["while it waits", "as it is let in"])
async def test_who_is_cancelled_leaves_nothing_behind(let_in: bool) -> None:
    reads = Reads(budget_bytes=LARGE, **PATIENT)
    first = await reads.turn()
    waiting = asyncio.create_task(reads.turn())
    await settle()
    if let_in:
        first.release()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    first.release()
    assert (reads.held_bytes, reads.waiting) == (0, 0)


@pytest.mark.parametrize(
    ("blocks", "told_at"),
    [(0, 0), (3, 3), (READ_BLOCKS, READ_BLOCKS), (READ_BLOCKS + 5, READ_BLOCKS)],
)
def test_a_sound_is_used_when_its_blocks_are_asked_for_or_many_of_them(blocks: int, told_at: int) -> None:
    sent = Sent(memoryview(b""))
    asked = 0
    told: list[int] = []
    sent.on_read = lambda: told.append(asked)
    for _ in sent.watch(iter([b""] * blocks)):
        asked += 1
    assert told[0] == told_at


async def test_more_than_the_budget_at_once_is_answered_whoever_fails_between(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    sound = pcm(noise(30.0))
    good = pb.EmbedRequest(audio=sound)
    bad = pb.EmbedRequest(audio=pb.Audio(content=sound.pcm.data))
    async with live_server(tmp_path) as running:
        alone = await running.audio.Embed(good)
        calls = [
            running.audio.Embed(bad if number % 3 else good) for number in range(3 * BUDGET_BYTES // good.ByteSize())
        ]
        answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30.0 * PATIENCE_S)
    for number, answer in enumerate(answers):
        if number % 3:
            assert isinstance(answer, grpc.aio.AioRpcError)
            assert answer.code() is grpc.StatusCode.INVALID_ARGUMENT
        else:
            assert answer.embeddings == alone.embeddings
