"""Frames <-> indices in bounded memory: `Encoder` and `Decoder`, frame by frame, and `encode` for whole streams.

    encode   frame --pad--> E, ctxE, search --> indices --> record
                                                  |
                             y_ref <-- VQ^-1, ctxD (the decoder's own program: the reference is what it will see)

    decode   record --> indices --> VQ^-1, ctxD --> y_hat --> D --crop--> frame
                                       y_ref <-------+

What runs compiled is in `cbvc_jax.programs`.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import jax
import numpy as np
from jaxtyping import Array, UInt8

from cbvc_jax.bitstream import (
    MOVING_VERSION,
    STREAM_CODINGS,
    VERSION,
    FrameChances,
    IndexTables,
    Skip,
    StreamCoding,
    StreamHeader,
    StreamWriter,
    check_blocks,
    fill_skipped,
)
from cbvc_jax.errors import UsageError
from cbvc_jax.geometry import CODED, MOVES, STAYS
from cbvc_jax.lanes import in_lanes
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.pricing import (
    block_bits,
    index_bits,
    index_costs,
    scale_of_price,
    scaled_costs,
    scales_of_stages,
    skipped_blocks,
)
from cbvc_jax.programs import Device, Frame, IndexMaps, Programs, batched, block_errors
from cbvc_jax.rate_control import RateControl
from cbvc_jax.refinement import check_effort, refine, rounds_of
from cbvc_jax.video import VideoFrame, VideoInfo
from cbvc_jax.video.cuts import CutDetector
from cbvc_jax.weights import Model

DEFAULT_GOP = 32
DEFAULT_CODING: StreamCoding = "adaptive"
LEAST_GAIN = 0.1
"""Share of a block's error that coding it must take away, where bits have no price."""
REFERRED_FRAMES = 10
"""Frames that a keyframe's error counts in, where so many follow it: those after it repeat what it shows."""
GetChances = Callable[[str], FrameChances | None]


@dataclasses.dataclass(frozen=True, eq=False)
class CodedFrame:
    """One frame as it is sent.

    Attributes:
      kind: "key" or "predicted".
      rate: name of its codebooks: "key", or a rate.
      indices: of each stage.
      skip: the blocks that stay as they were; None: no block.
    """

    kind: str
    rate: str
    indices: IndexMaps
    skip: Skip | None = None


class Encoder:
    """Codes one frame after the other. Holds one frame's latents, whatever the length of the video.

    Args:
      model: from `load_model`.
      height, width: of every frame, in pixels.
      rate: codebooks of predicted frames: "high", "medium" or "low".
      gop: a keyframe at least every so many frames.
      price: lambda, the squared error that a bit has to save, in 8-bit levels; 0 sends the nearest codewords. It may be
        changed between frames. A bit of a keyframe, which the frames after it refer to, has to save a tenth of that.
      cuts: a keyframe where a new scene begins, too.
      skips: leave blocks of predicted frames as they were, or as displacements move them where the model has any, if
        that costs less, in error and in bits at their price. It takes making the picture up to seven times a frame.
      effort: 0 .. 9, a search with the decoder for indices that make better pictures, which takes time: see
        `cbvc_jax.refinement.LEVELS`.
      device: to run on; JAX's default otherwise.
    """

    def __init__(
        self,
        model: Model,
        height: int,
        width: int,
        rate: str = "high",
        gop: int = DEFAULT_GOP,
        price: float = 0.0,
        cuts: bool = True,
        skips: bool = False,
        effort: int = 0,
        device: Device | None = None,
    ):
        if gop < 1:
            raise UsageError(f"a GOP of {gop} frames makes no sense: it takes at least 1")
        model.preset.codebook_sizes(rate)
        self.rate, self.gop, self.price = rate, gop, price
        self._programs = Programs(model, height, width, device)
        self._effort = check_effort(effort)
        self._sensitivity: dict[str, np.ndarray] = {}
        self._cuts = CutDetector() if cuts else None
        self._skips = skips
        self._position = 0
        self._y_ref: Array | None = None
        self._last: tuple[str, IndexMaps] = KEYFRAME, ()
        self._before: Frame | None = None
        self._scale: np.ndarray | float = 1.0

    def push(
        self, frame: Frame, *, rate: str | None = None, keyframe: bool = False, chances: GetChances | None = None
    ) -> CodedFrame:
        """Codes the next frame.

        Args:
          frame: uint8 RGB [height, width, 3].
          rate: of this frame, if it is predicted; the encoder's otherwise.
          keyframe: start a new GOP here.
          chances: of the frame's indices, which a price needs: the method of the writer that has all frames so far.

        Raises:
          UsageError: the frame has another size or type, or there is a price and no `chances`.
        """
        expected = (self._programs.height, self._programs.width, 3)
        if frame.shape != expected or frame.dtype != np.uint8:
            raise UsageError(f"the encoder takes frames uint8 {list(expected)}, not {frame.dtype} {list(frame.shape)}")
        if self._cuts is not None and self._cuts.push(frame):
            keyframe = True
        if keyframe or self._y_ref is None or self._position % self.gop == 0:
            self._position, self._y_ref, kind = 0, None, KEYFRAME
        else:
            kind = rate or self.rate
        indices, likely = self._search(frame, kind, chances)
        y_hat = self._programs.restore(indices, self._y_ref, kind)
        maps: IndexMaps = tuple(np.asarray(i)[0].transpose(2, 0, 1) for i in indices)
        skip = None
        if self._skips and self._y_ref is not None:
            shown = self._programs.picture(y_hat)
            skip = self._skipped(frame, shown, self._y_ref, indices, maps, kind, likely)
            if skip is not None:
                maps = fill_skipped(maps, skip, self._last[1] if self._last[0] == kind else None)
                y_hat = self._programs.restore(batched(maps), self._y_ref, kind, skip)
        self._y_ref, self._last, self._before = y_hat, (kind, maps), frame
        self._position += 1
        return CodedFrame("key" if kind == KEYFRAME else "predicted", kind, maps, skip)

    def _skipped(
        self,
        frame: Frame,
        shown: Array,
        y_ref: Array,
        indices: list[Array],
        maps: IndexMaps,
        kind: str,
        likely: FrameChances | None,
    ) -> Skip | None:
        """What becomes of blocks that are coded as `shown` shows; None: all are coded."""
        coded = np.asarray(block_errors(frame, shown))
        ways = 1 + (MOVES if self._programs.preset.displaces else STAYS)
        if likely is not None and likely.blocks is not None:
            ways = likely.blocks.shape[-1]
        idle = np.asarray(self._programs.idle_errors(frame, indices, y_ref, kind, ways))
        if likely is None or likely.blocks is None:
            skip = np.where(idle.min(axis=0) > coded * (1.0 + LEAST_GAIN), CODED, STAYS + idle.argmin(axis=0))
        else:
            prices = [self.price * scale for scale in scales_of_stages(np.broadcast_to(self._scale, coded.shape))]
            costs = [price * bits for price, bits in zip(prices, index_bits(likely.stages, maps), strict=True)]
            skip = skipped_blocks(coded, idle, prices[0] * block_bits(likely.blocks), costs)
        return skip.astype(np.uint8) if skip.any() else None

    def _search(self, frame: Frame, kind: str, chances: GetChances | None) -> tuple[list[Array], FrameChances | None]:
        """(indices of each stage, what chances they had; None where bits have no price)."""
        programs, y_ref = self._programs, self._y_ref
        if self.price and chances is None:
            raise UsageError("a price needs the chances of indices: pass the `chances` of the stream's writer")
        likely = chances(kind) if self.price and chances else None
        refined = rounds_of(self._effort, kind)[0] > 0
        if likely is None and not refined:
            return programs.search(frame, y_ref, kind), None
        # GOPs that are coded at once must not depend on those before; where bits have a price there are none.
        if kind == KEYFRAME and not self.price:
            self._sensitivity.clear()
        if kind not in self._sensitivity:
            nearest = programs.search(frame, y_ref, kind)
            self._sensitivity[kind] = np.asarray(programs.sensitivity(nearest, y_ref, kind))
        sensitivity = self._sensitivity[kind]
        costs = found = None
        if likely is not None:
            price = self.price / min(self.gop, REFERRED_FRAMES) if kind == KEYFRAME else self.price
            costs = index_costs(likely.stages, price, sensitivity)
            if programs.preset.displaces and y_ref is not None and self._before is not None:
                found, shares = programs.find(frame, self._before, y_ref)
                self._scale = scale_of_price(np.asarray(shares), self.gop - self._position)
                costs = scaled_costs(costs, self._scale)
        indices = programs.search(frame, y_ref, kind, costs, found)
        if refined:
            indices = refine(programs, frame, indices, y_ref, kind, sensitivity, self._effort, costs)
        return indices, likely

    def reconstruction(self) -> Frame:
        """The last frame as a decoder will show it, uint8 [height, width, 3]."""
        if self._y_ref is None:
            raise UsageError("nothing has been encoded yet")
        return np.asarray(self._programs.picture(self._y_ref))


class Decoder:
    """Decodes one frame after the other; arguments as of `Encoder`.

    Attributes:
      tables: initial tables of index coding that the model has, or None: those of its streams' reader.
    """

    def __init__(self, model: Model, height: int, width: int, device: Device | None = None):
        self.tables: IndexTables | None = model.tables
        self._programs = Programs(model, height, width, device)
        self._y_ref: Array | None = None

    def push(
        self, rate: str, indices: IndexMaps, skip: Skip | None = None, *, show: bool = True
    ) -> UInt8[Array, "h w 3"] | None:
        """The next frame, as an array that may still be on its way from the device; None if it is not shown.

        Args:
          rate: "key", or the rate of a predicted frame.
          indices: of each stage, uint16 [groups, rows, columns].
          skip: uint8 [rows, columns] of the first stage: what becomes of each block of a predicted frame.
          show: False brings only the reference latents up to date, which is quicker.

        Raises:
          UsageError: a predicted frame comes first, or blocks move and the model has no displacements.
        """
        if rate == KEYFRAME:
            self._y_ref = None
        elif self._y_ref is None:
            raise UsageError("a predicted frame needs the frame before it; decoding starts at a keyframe")
        if skip is not None:
            check_blocks(skip, self._programs.preset.displaces)
        self._y_ref = self._programs.restore(batched(indices), self._y_ref, rate, skip)
        return self._programs.picture(self._y_ref) if show else None


def usual_coding(quality: bool) -> StreamCoding:
    """What `cbvc encode` does with indices unless it is told: for a quality or a target, and for a rate."""
    return "skipping" if quality else DEFAULT_CODING


def stream_header(
    model: Model, info: VideoInfo, gop: int = DEFAULT_GOP, coding: StreamCoding = DEFAULT_CODING
) -> StreamHeader:
    """The header of a stream of `model` for a video of `info`."""
    if coding not in STREAM_CODINGS:
        raise UsageError(f"there is no index coding '{coding}'; there are: {', '.join(STREAM_CODINGS)}")
    version = STREAM_CODINGS[coding]
    if coding == "skipping" and model.preset.displaces:
        version = MOVING_VERSION if model.tables is None else VERSION
    return StreamHeader(
        model_sha256=model.sha256,
        width=info.width,
        height=info.height,
        time_base=info.time_base,
        frame_rate=info.frame_rate,
        color_matrix=info.matrix,
        color_range=info.color_range,
        gop=gop,
        key_sizes=model.preset.key_sizes,
        predicted_sizes=model.preset.predicted_sizes,
        version=version,
    )


def encode(
    frames: Iterable[VideoFrame],
    file: IO[bytes] | Any,
    model: Model,
    info: VideoInfo,
    rate: str = "high",
    gop: int = DEFAULT_GOP,
    coding: StreamCoding = DEFAULT_CODING,
    *,
    price: float = 0.0,
    control: RateControl | None = None,
    cuts: bool = True,
    effort: int = 0,
    parallel: int = 1,
) -> Iterator[CodedFrame]:
    """Writes a stream to `file` while it is iterated: one coded frame for each of `frames`.

    `coding` "fixed" spends the same bits on every frame, and readers of format 1.0 read it; "adaptive" spends fewer on
    indices that were frequent in the frames before, and decodes to the same pictures; "skipping" can leave blocks as
    they were, or as displacements move them, too, and decides that by the pictures it makes.

    Timestamps are shifted so that none is below zero.

    Args:
      price: of a bit, as of `Encoder`; `cbvc_jax.rate_control.setting_for` has rate and price for a quality.
      control: chooses rate and price for every frame, to hold a target, in place of `rate` and `price`.
      cuts: a keyframe where a new scene begins, too, not only every `gop` frames.
      effort: as of `Encoder`.
      parallel: GOPs that are coded at once, one after the other on each of JAX's devices; the stream is the same, byte
        for byte. Two times `lanes.AHEAD` frames of each GOP are held.

    Raises:
      UsageError: there is a price or a target, but bits are the same whatever is sent, or GOPs shall be coded at once.
    """
    if coding == "fixed" and (price or control):
        raise UsageError(
            "at fixed length every frame takes the same bits: a quality or a target needs --coding adaptive"
        )
    if parallel > 1 and (price or control):
        raise UsageError(
            "GOPs cannot be coded at once under a quality or a target: what bits cost in one is learned in those before"
        )
    make = functools.partial(Encoder, model, info.height, info.width, rate, skips=coding == "skipping", effort=effort)
    if parallel > 1:
        encoders = [make(gop=sys.maxsize, cuts=False, device=device) for device in lane_devices(parallel)]
    else:
        encoders = [make(gop=gop, price=price, cuts=cuts)]
    shift: int | None = None
    with StreamWriter(file, stream_header(model, info, gop, coding), model.tables) as writer:
        if parallel > 1:
            pairs = _in_gops(frames, gop, cuts, encoders)
        else:
            pairs = _one_by_one(frames, encoders[0], writer, control)
        for frame, coded in pairs:
            shift = min(frame.timestamp, 0) if shift is None else shift
            before = writer.size_bytes if writer.frames else 0
            writer.write(coded.kind, coded.rate, frame.timestamp - shift, coded.indices, coded.skip)  # pyright: ignore
            if control is not None:
                control.update(8 * (writer.size_bytes - before), coded.kind == "key")
            yield coded


def _one_by_one(
    frames: Iterable[VideoFrame], encoder: Encoder, writer: StreamWriter, control: RateControl | None
) -> Iterator[tuple[VideoFrame, CodedFrame]]:
    """Frames with their codes; the next frame is asked for when the last one has been written."""
    for frame in frames:
        if control is not None:
            setting = control.setting()
            encoder.rate, encoder.price = setting.rate, setting.price
        yield frame, encoder.push(frame.rgb, chances=writer.chances)


def _in_gops(
    frames: Iterable[VideoFrame], gop: int, cuts: bool, encoders: list[Encoder]
) -> Iterator[tuple[VideoFrame, CodedFrame]]:
    """Frames with their codes, a GOP an encoder, several at once."""
    detector = CutDetector() if cuts else None

    def with_keyframes() -> Iterator[tuple[VideoFrame, bool]]:
        position = 0
        for frame in frames:
            begins = detector is not None and detector.push(frame.rgb)
            position = 0 if begins or position == gop else position
            yield frame, position == 0
            position += 1

    def lane(encoder: Encoder) -> Callable[[tuple[VideoFrame, bool]], tuple[VideoFrame, CodedFrame]]:
        return lambda item: (item[0], encoder.push(item[0].rgb, keyframe=item[1]))

    return in_lanes(with_keyframes(), lambda item: item[1], [lane(encoder) for encoder in encoders])


def lane_devices(parallel: int) -> list[Device]:
    """The device of each of so many GOPs that are worked on at once."""
    devices = jax.devices()
    return [devices[i % len(devices)] for i in range(parallel)]
