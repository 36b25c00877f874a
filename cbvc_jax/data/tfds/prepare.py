"""Makes a data set on disk."""

from __future__ import annotations

import difflib
from pathlib import Path

import tensorflow_datasets as tfds

from cbvc_jax.data.tfds.video_folder import DEFAULT_FRAMES, VideoFolder, VideoFolderConfig
from cbvc_jax.data.tfds.vimeo90k_septuplet import Vimeo90kSeptuplet
from cbvc_jax.errors import UsageError

BUILDERS = {"vimeo90k_septuplet": Vimeo90kSeptuplet, "video_folder": VideoFolder}


def prepare(name: str, folder: Path, data_dir: Path, frames: int | None = None) -> str:
    """Prepares a data set and returns what it holds in a line. One that is there already is left as it is.

    Args:
      name: "vimeo90k_septuplet", "video_folder", or "video_folder/NAME" to have several.
      folder: what it is made of.
      data_dir: where data sets lie.
      frames: of a chunk of `video_folder`, which then needs a name of its own.

    Raises:
      UsageError: the name makes no sense.
      VideoError: the folder is missing, or a file of it that is needed.
    """
    base, _, config = name.partition("/")
    if base not in BUILDERS:
        near = difflib.get_close_matches(base, BUILDERS, n=1, cutoff=0.0)
        raise UsageError(f"there is no data set '{base}' to prepare; the nearest is '{near[0]}'")
    if base != "video_folder" and (config or frames):
        raise UsageError(f"data set {base} takes neither a name of its own nor --frames")
    if frames and not config:
        raise UsageError("chunks of another length need a name: video_folder/NAME")
    chosen = VideoFolderConfig(name=config, frames=frames or DEFAULT_FRAMES) if config else None
    builder = BUILDERS[base](data_dir=data_dir, config=chosen)
    builder.download_and_prepare(
        download_dir=data_dir / "downloads",
        download_config=tfds.download.DownloadConfig(manual_dir=folder, try_download_gcs=False),
    )
    splits = ", ".join(f"{split}: {info.num_examples} records" for split, info in sorted(builder.info.splits.items()))
    return f"{builder.info.full_name.replace('/' + str(builder.version), ':' + str(builder.version))} ({splits})"
