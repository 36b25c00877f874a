"""The ways in which a stream can fail that a caller may want to tell apart; all are `BitstreamError`."""

from __future__ import annotations

from cbvc_jax.errors import BitstreamError


class TruncatedError(BitstreamError):
    """The bytes end before the stream does: every complete frame before the cut has been yielded."""


class UnsupportedError(BitstreamError):
    """The stream is of a later format: another major version, or an index coding unknown here (or damage to it)."""
