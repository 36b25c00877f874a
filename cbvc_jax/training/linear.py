"""What predicted frames could gather: a codec without networks, at the bits that a rate takes at fixed length.

    python -m cbvc_jax.training.linear CLIP... --train CLIP... [--rates low high] [--dim 32] [--frames 8] [--side 256]

    keyframe of the model --> each block of 32x32 from where it lies in the picture before --> + residual, by stages

Predicted frames know nothing but pixels: one codebook, the first of stage 2, holds displacements; the others hold
codewords of the residual's principal components, those of blocks of 16x16, 32x32 and 64x64 pixels (the larger ones at
1/2 and 1/4 of the size), learned by k-means from the training clips, twice: from what displacements alone leave, and
from what the codec itself leaves. PSNR over RGB by frame, mean over clips: clips as they move, and their first frame
again and again; beside it the model's own. A model that predicts worse than this has something to learn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from cbvc_jax import markdown
from cbvc_jax.codec import Encoder
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.evaluation.clips import find_clips
from cbvc_jax.evaluation.metrics import psnr_rgb
from cbvc_jax.geometry import FRAME_MULTIPLE, GROUPS, POINTING_STAGE, STAGE_STRIDES
from cbvc_jax.modules.blocks import pixel_shuffle, pixel_unshuffle
from cbvc_jax.modules.displacement import SIDE, displace
from cbvc_jax.modules.motion_estimation import find_displacements
from cbvc_jax.modules.search import search_group
from cbvc_jax.training.codebooks import kmeans
from cbvc_jax.weights import Model, load_model

SAMPLES = 80_000
"""Vectors that a codebook and principal components are learned from, at the most."""
ITERATIONS = 4
AT_ONCE = 8
"""Clips whose displacements are searched together."""
Pictures = Float[np.ndarray, "n side side 3"]
"""In [-1, 1]."""


class Stage(NamedTuple):
    """One stage for residuals. Attributes: pixels along a block, components [768, groups d], codebooks [K, d]."""

    side: int
    components: np.ndarray
    books: list[np.ndarray]


class LinearCodec(NamedTuple):
    """Attributes: displacements in pixels [K, 2], or None for any; stages from the finest; none of them add nothing."""

    displacements: np.ndarray | None
    stages: list[Stage]


class Footage(NamedTuple):
    """Attributes: clips [n, frames, side, side, 3] in [-1, 1], and their first frames as keyframes of a model."""

    clips: np.ndarray
    keys: Pictures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints a markdown table."""
    parser = argparse.ArgumentParser(
        prog="python -m cbvc_jax.training.linear",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("clips", nargs="+", metavar="CLIP")
    parser.add_argument("--train", nargs="+", required=True, metavar="CLIP", help="clips to learn codebooks from")
    parser.add_argument("--model", default="tiny", help="of the keyframes, and of the codebooks' sizes")
    parser.add_argument("--rates", nargs="+", default=["low", "high"])
    parser.add_argument("--dim", type=int, default=32, help="length of codewords (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--side", type=int, default=256, help="of the crops in pixels (default: %(default)s)")
    args = parser.parse_args(argv)
    from cbvc_jax.cache import use_compilation_cache

    use_compilation_cache()
    try:
        if args.side < FRAME_MULTIPLE or args.side % FRAME_MULTIPLE or args.frames < 2 or args.dim < 1:
            raise UsageError(f"the side must be a multiple of {FRAME_MULTIPLE}, frames 2 or more, the dim 1 or more")
        model = load_model(args.model)
        sizes = {rate: model.preset.codebook_sizes(rate) for rate in args.rates}
        shown, training = (load(model, names, args.frames, args.side) for names in (args.clips, args.train))
        print(f"{len(shown.clips)} clips, codebooks from {len(training.clips)}\n")
        print(markdown.head(("rate", "codec", "clips", *(f"frame {t}" for t in range(args.frames)))))
        for rate, of_rate in sizes.items():
            codec = learn(training, of_rate, args.dim)
            for name, still in (("as they move", False), ("standing still", True)):
                for by, psnr in (
                    (args.model, run_model(model, shown, rate, still)),
                    ("linear", run(shown, codec, still=still)),
                ):
                    print(markdown.row((rate, by, name, *(f"{p:.2f} dB" for p in psnr))), flush=True)
    except CbvcError as error:
        sys.exit(f"linear: {error}")
    return 0


def load(model: Model, names: Sequence[str], frames: int, side: int) -> Footage:
    """The clips' first frames, cropped in the middle; clips that are too short or too small are left out.

    Raises:
      UsageError: none is left.
    """
    clips, keys = [], []
    encoder = Encoder(model, side, side, rate=model.preset.rates[0], gop=1, cuts=False)
    for clip in find_clips(names, frames):
        pictures = [frame for frame, _ in zip(clip.rgb(), range(frames), strict=False)]
        height, width = pictures[0].shape[:2] if pictures else (0, 0)
        if len(pictures) < frames or min(height, width) < side:
            continue
        top, left = (height - side) // 2, (width - side) // 2
        crop = np.stack([p[top : top + side, left : left + side] for p in pictures])
        encoder.push(np.ascontiguousarray(crop[0]))
        clips.append(_to_signed(crop))
        keys.append(_to_signed(encoder.reconstruction()))
    if not clips:
        raise UsageError(f"no clip has {frames} frames of {side}x{side} or more")
    return Footage(np.stack(clips), np.stack(keys))


def learn(footage: Footage, sizes: Sequence[int], dim: int) -> LinearCodec:
    """Codebooks of `sizes`, one a stage, with codewords of length `dim`."""
    found: list[np.ndarray] = []
    run(footage, LinearCodec(None, []), seen=lambda d, _: found.append(d))
    displacements = _codebook(np.concatenate(found).reshape(-1, 2), sizes[POINTING_STAGE])
    codec = LinearCodec(displacements, [])
    for _ in range(2):
        left: list[Pictures] = []
        run(footage, codec, seen=lambda _, r, left=left: left.append(r))
        codec = LinearCodec(displacements, _learn_stages(np.concatenate(left), sizes, dim))
    return codec


def _learn_stages(residual: Pictures, sizes: Sequence[int], dim: int) -> list[Stage]:
    stages = []
    for s, (side, size) in enumerate(zip(STAGE_STRIDES, sizes, strict=True)):
        vectors = _blocks(residual, side)
        vectors = vectors[np.random.default_rng(s).permutation(len(vectors))[:SAMPLES]]
        groups = GROUPS - (s == POINTING_STAGE)
        dim = min(dim, vectors.shape[1] // groups)
        axes = principal_components(vectors, groups * dim)
        # Components take turns, so that groups are alike.
        books = [_codebook((vectors @ axes)[:, g::groups], size) for g in range(groups)]
        stages.append(Stage(side, axes, books))
        residual = residual - _coded(residual, stages[-1])
    return stages


def principal_components(vectors: Float[np.ndarray, "m n"], count: int) -> Float[np.ndarray, "n count"]:
    """Directions of most energy, the first one first, as orthonormal columns."""
    return np.linalg.eigh(vectors.T @ vectors)[1][:, ::-1][:, :count].astype(np.float32)


def _codebook(vectors: np.ndarray, size: int) -> np.ndarray:
    """k-means, and nothing at all as its first codeword."""
    book = np.array(kmeans(jax.random.key(0), jnp.asarray(vectors, jnp.float32), size, ITERATIONS))
    book[0] = 0.0
    return book


def run(
    footage: Footage, codec: LinearCodec, *, still: bool = False, seen: Callable[..., object] | None = None
) -> list[float]:
    """PSNR of each frame in dB, the mean over clips. `seen` is told the displacements and residuals of each frame."""
    pictures = footage.keys
    psnr = [_psnr(footage.clips[:, 0], pictures)]
    for t in range(1, footage.clips.shape[1]):
        x = footage.clips[:, 0 if still else t]
        found, moved = zip(
            *(_moved(x[i : i + AT_ONCE], pictures[i : i + AT_ONCE], codec) for i in range(0, len(x), AT_ONCE)),
            strict=True,
        )
        pictures = np.concatenate(moved)
        if seen:
            seen(np.concatenate(found), x - pictures)
        for stage in codec.stages:
            pictures = pictures + _coded(x - pictures, stage)
        psnr.append(_psnr(x, pictures))
    return psnr


def run_model(model: Model, footage: Footage, rate: str, still: bool) -> list[float]:
    """The same of a model: PSNR of each frame in dB, the mean over clips, with the nearest codewords of a rate."""
    _, frames, side = footage.clips.shape[:3]
    psnr = []
    for clip in _to_8bit(footage.clips):
        encoder = Encoder(model, side, side, rate=rate, gop=frames, cuts=False)
        shown = []
        for t in range(frames):
            encoder.push(clip[0 if still else t])
            shown.append(encoder.reconstruction())
        psnr.append(psnr_rgb(clip[[0] * frames] if still else clip, np.stack(shown)))
    return list(np.mean(psnr, axis=0))


def _moved(x: Pictures, before: Pictures, codec: LinearCodec) -> tuple[np.ndarray, Pictures]:
    """Displacements of blocks [n, rows, columns, 2], and the picture before as they displace it."""
    found = np.asarray(_search(x, before))
    if codec.displacements is not None:
        nearest = search_group(jnp.asarray(found.reshape(-1, 2)), jnp.asarray(codec.displacements))
        found = codec.displacements[np.asarray(nearest)]
        found = found.reshape(len(x), -1, x.shape[1] // SIDE, 2)
    return found, np.asarray(_displaced(before, found))


_search = jax.jit(lambda picture, reference: find_displacements(picture, reference).displacement)
_displaced = jax.jit(displace)


def _coded(residual: Pictures, stage: Stage) -> Pictures:
    """What a stage adds."""
    groups = len(stage.books)
    z = _blocks(residual, stage.side) @ stage.components
    for g, book in enumerate(stage.books):
        z[:, g::groups] = book[np.asarray(search_group(jnp.asarray(z[:, g::groups]), jnp.asarray(book)))]
    return _pictures(z @ stage.components.T, stage.side, residual.shape[1])


def _blocks(pictures: Pictures, side: int) -> Float[np.ndarray, "m 768"]:
    """Blocks of `side` x `side` pixels, made 16 x 16 by means."""
    n, size = pictures.shape[:2]
    by = side // STAGE_STRIDES[0]
    small = pictures.reshape(n, size // by, by, size // by, by, 3).mean(axis=(2, 4))
    blocks = np.asarray(pixel_unshuffle(jnp.asarray(small), STAGE_STRIDES[0]))
    return blocks.reshape(-1, blocks.shape[-1])


def _pictures(blocks: Float[np.ndarray, "m 768"], side: int, size: int) -> Pictures:
    """The inverse of `_blocks`, each mean as often as it has pixels."""
    count, by = size // side, side // STAGE_STRIDES[0]
    places = jnp.asarray(blocks.reshape(-1, count, count, blocks.shape[-1]))
    small = np.asarray(pixel_shuffle(places, STAGE_STRIDES[0]))
    return small.repeat(by, axis=1).repeat(by, axis=2)


def _to_signed(frames: np.ndarray) -> np.ndarray:
    return frames.astype(np.float32) * (2.0 / 255.0) - 1.0


def _to_8bit(pictures: np.ndarray) -> np.ndarray:
    return np.clip(np.rint((pictures + 1.0) * 127.5), 0, 255).astype(np.uint8)


def _psnr(x: Pictures, pictures: Pictures) -> float:
    return float(np.mean(psnr_rgb(_to_8bit(x), _to_8bit(pictures))))


if __name__ == "__main__":
    sys.exit(main())
