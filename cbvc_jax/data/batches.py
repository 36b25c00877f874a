"""Batches of training clips: what is in batch n depends on (seed, n) alone.

A session is a run of chunks that follow each other in time; each begins with the frame that the last one ended with.
Crop, speed, direction and mirroring are drawn once a session and clip. A clip that is too short runs back and forth; a
photograph becomes a clip by moving the crop across it.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import UInt8

from cbvc_jax.data.clips import Clip
from cbvc_jax.errors import UsageError

MAX_PAN = 6.0
"""Fastest movement across a photograph, in pixels a frame."""


@dataclasses.dataclass(frozen=True)
class BatchShape:
    """Attributes: batch, frames a chunk, chunks a session, side of the crop in pixels, share of photographs."""

    batch: int
    frames: int
    chunks: int
    crop: int
    still_share: float


class ClipBatches:
    """Random access to batches: `batches(n)` is uint8 [batch, frames, crop, crop, 3].

    A process that feeds some devices only makes their rows: `batches(n, (first, last))` is `batches(n)[first:last]`.
    """

    def __init__(self, clips: list[Clip], shape: BatchShape, seed: int):
        self.shape, self.seed = shape, seed
        self.stills = [c for c in clips if c.is_still]
        self.videos = [c for c in clips if not c.is_still]
        if not self.stills and not self.videos:
            raise UsageError("training data: there are no clips")
        weights = np.array([len(c.frames) for c in self.videos], np.float64)
        self.video_weights = weights / weights.sum() if len(weights) else weights

    def __call__(self, n: int, rows: tuple[int, int] | None = None) -> UInt8[np.ndarray, "b t crop crop 3"]:
        session, chunk = divmod(n, self.shape.chunks)
        return np.stack([self._item(session, chunk, i) for i in range(*(rows or (0, self.shape.batch)))])

    def _item(self, session: int, chunk: int, i: int) -> UInt8[np.ndarray, "t crop crop 3"]:
        rng = np.random.default_rng((self.seed, session, i))
        use_still = bool(self.stills) and (not self.videos or rng.random() < self.shape.still_share)
        times = chunk * (self.shape.frames - 1) + np.arange(self.shape.frames)
        crops = self._pan(rng, times) if use_still else self._play(rng, times)
        return crops[:, :, ::-1] if rng.random() < 0.5 else crops

    def _play(self, rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
        frames = self.videos[rng.choice(len(self.videos), p=self.video_weights)].frames
        top, left = self._corner(rng, frames)
        start, stride, direction = rng.integers(len(frames)), rng.choice([1, 1, 1, 2]), rng.choice([-1, 1])
        # Back and forth over the clip: positions repeat with a period of twice its length.
        position = (start + direction * stride * times) % (2 * len(frames) - 2)
        position = np.where(position < len(frames), position, 2 * len(frames) - 2 - position)
        crop = self.shape.crop
        return np.stack([frames[t, top : top + crop, left : left + crop] for t in position])

    def _pan(self, rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
        frames = self.stills[rng.integers(len(self.stills))].frames
        start, crop = np.array(self._corner(rng, frames)), self.shape.crop
        room = np.array(frames.shape[1:3]) - crop
        speed = rng.uniform(-MAX_PAN, MAX_PAN, 2) * rng.choice([0.0, 0.3, 1.0])
        corner = np.rint(start + speed * times[:, None]).astype(int)
        corner = np.where(room > 0, np.abs((corner + room) % np.maximum(2 * room, 1) - room), 0)
        return np.stack([frames[0, y : y + crop, x : x + crop] for y, x in corner])

    def _corner(self, rng: np.random.Generator, frames: np.ndarray) -> tuple[int, int]:
        room = np.array(frames.shape[1:3]) - self.shape.crop
        top, left = rng.integers(room + 1)
        return int(top), int(left)


def prefetch(
    make: Callable[[int], Any], first: int, last: int, depth: int = 4, workers: int = 1
) -> Generator[Any, None, None]:
    """`make(n)` for n in [first, last), in order, up to `depth` of them made ahead by `workers` threads."""
    with ThreadPoolExecutor(workers, "batches") as pool:
        try:
            ahead = deque(pool.submit(make, n) for n in range(first, min(first + depth, last)))
            for n in range(first + len(ahead), last + len(ahead)):
                item = ahead.popleft().result()
                if n < last:
                    ahead.append(pool.submit(make, n))
                yield item
        finally:
            pool.shutdown(cancel_futures=True)
