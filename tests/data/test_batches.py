"""Batches depend on (seed, n) alone, follow each other within a session, and come in any order."""

from __future__ import annotations

import numpy as np
import pytest

from cbvc_jax.data.batches import BatchShape, ClipBatches, prefetch
from cbvc_jax.data.clips import Clip
from cbvc_jax.errors import UsageError

SHAPE = BatchShape(batch=3, frames=4, chunks=3, crop=16, still_share=0.5)


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    video = np.broadcast_to(np.arange(9, dtype=np.uint8)[:, None, None, None] * 20, (9, 32, 40, 3)).copy()
    video[..., 1] = rng.integers(0, 255, (32, 40), dtype=np.uint8)
    return [Clip("video", video), Clip("still", rng.integers(0, 255, (1, 50, 60, 3), dtype=np.uint8))]


def test_a_batch_is_the_same_whenever_it_is_made(clips):
    one, other = ClipBatches(clips, SHAPE, seed=5), ClipBatches(clips, SHAPE, seed=5)
    assert one(0).shape == (3, 4, 16, 16, 3)
    np.testing.assert_array_equal(one(7), [other(i) for i in (3, 7)][1])
    assert not np.array_equal(one(7), ClipBatches(clips, SHAPE, seed=6)(7))


def test_chunks_of_a_session_go_on_where_the_last_one_ended(clips):
    """Red counts the video's frames: within a session it moves by a constant step, back and forth."""
    batches = ClipBatches(clips[:1], SHAPE, seed=1)
    chunks = [batches(n)[:, :, 0, 0, 0].astype(int) // 20 for n in range(3)]
    np.testing.assert_array_equal(chunks[0][:, -1], chunks[1][:, 0])
    red = np.concatenate([chunks[0], *(chunk[:, 1:] for chunk in chunks[1:])], axis=1)
    period = 2 * 9 - 2
    for row in red:
        phases = {tuple((s + d * t) % period for t in range(10)) for s in range(period) for d in (-2, -1, 1, 2)}
        folded = {tuple(p if p < 9 else period - p for p in phase) for phase in phases}
        assert tuple(row) in folded


def test_a_photograph_moves_under_the_crop_without_leaving_it(clips):
    batches = ClipBatches(clips[1:], SHAPE, seed=3)
    still = clips[1].frames[0]
    mirrored = still[:, ::-1]
    for frame in batches(1).reshape(-1, 16, 16, 3)[::5]:
        found = any(
            np.array_equal(frame, image[y : y + 16, x : x + 16])
            for image in (still, mirrored)
            for y in range(35)
            for x in range(45)
        )
        assert found


def test_no_clips_is_an_error():
    with pytest.raises(UsageError, match="no clips"):
        ClipBatches([], SHAPE, seed=0)


def test_prefetch_keeps_the_order_and_hands_errors_on():
    assert list(prefetch(lambda n: n * n, 2, 6)) == [4, 9, 16, 25]

    def fail(n: int) -> int:
        if n == 1:
            raise UsageError("broken")
        return n

    items = prefetch(fail, 0, 3)
    assert next(items) == 0
    with pytest.raises(UsageError, match="broken"):
        next(items)
