"""The bitstream: bytes <-> index maps. FORMAT.md says what each byte means; numpy and the standard library only."""

from cbvc_jax.bitstream.errors import TruncatedError, UnsupportedError
from cbvc_jax.bitstream.framing import CODINGS, Coding
from cbvc_jax.bitstream.frequencies import Chances, FrameChances
from cbvc_jax.bitstream.header import (
    ADAPTIVE_VERSION,
    COLOR_MATRICES,
    COLOR_RANGES,
    FIXED_VERSION,
    MOVING_VERSION,
    SKIPPING_VERSION,
    STREAM_CODINGS,
    VERSION,
    ColorMatrix,
    ColorRange,
    StreamCoding,
    StreamHeader,
)
from cbvc_jax.bitstream.packing import IndexMaps, PayloadLayout
from cbvc_jax.bitstream.reader import FrameRecord, Loss, StreamReader
from cbvc_jax.bitstream.skipping import Skip, check_blocks, fill_skipped
from cbvc_jax.bitstream.summary import StreamSummary, summarize
from cbvc_jax.bitstream.tables import CheckedTables, IndexTables, check_tables, table_of_counts
from cbvc_jax.bitstream.writer import StreamWriter
from cbvc_jax.errors import BitstreamError

__all__ = [
    "ADAPTIVE_VERSION",
    "CODINGS",
    "COLOR_MATRICES",
    "COLOR_RANGES",
    "FIXED_VERSION",
    "MOVING_VERSION",
    "SKIPPING_VERSION",
    "STREAM_CODINGS",
    "VERSION",
    "BitstreamError",
    "Chances",
    "CheckedTables",
    "Coding",
    "ColorMatrix",
    "ColorRange",
    "FrameChances",
    "FrameRecord",
    "IndexMaps",
    "IndexTables",
    "Loss",
    "PayloadLayout",
    "Skip",
    "StreamCoding",
    "StreamHeader",
    "StreamReader",
    "StreamSummary",
    "StreamWriter",
    "TruncatedError",
    "UnsupportedError",
    "check_blocks",
    "check_tables",
    "fill_skipped",
    "summarize",
    "table_of_counts",
]
