"""What both builders share: records for random access, in the order in which they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from cbvc_jax.errors import VideoError

KEYS = 1 << 128
"""TFDS sorts records that are not shuffled by an integer key below this, in 1000 heaps that cut this range evenly. Keys
have to be spread over it, or one heap, which is sorted in memory, holds the whole data set."""


class OrderedBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder whose files are array_record unless another format is asked for."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}

    def __init__(self, *, file_format: Any = None, **kwargs: Any):
        super().__init__(file_format=file_format or tfds.core.FileFormat.ARRAY_RECORD, **kwargs)

    def manual_folder(self, manager: tfds.download.DownloadManager) -> Path:
        """The folder that the data set is made of; VideoError with what to do where it is missing or empty."""
        try:
            return Path(manager.manual_dir)
        except AssertionError as error:
            raise VideoError(f"data set {self.name}: {error}") from error
