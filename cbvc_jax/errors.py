"""Every error that cbvc_jax raises for bad input: one typed, clear message each."""

from __future__ import annotations


class CbvcError(Exception):
    """Base of all errors whose message is meant for the person who gave the input."""


class BitstreamError(CbvcError):
    """A `.cbv` stream is damaged, cut short, or not a stream at all.

    Attributes:
      offset: byte offset in the stream at which the damage was noticed.
    """

    def __init__(self, message: str, offset: int):
        super().__init__(f"{message} (at byte {offset})")
        self.offset = offset


class ModelError(CbvcError):
    """A model is unknown, damaged, or not the one that a stream was made with."""


class VideoError(CbvcError):
    """A video, picture or pipe cannot be read or written."""


class UsageError(CbvcError):
    """An argument or a configuration field has a value that makes no sense."""
