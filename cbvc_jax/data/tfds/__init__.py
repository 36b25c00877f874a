"""TFDS builders, registered by importing this: `tfds.builder("vimeo90k_septuplet")`, `tfds.builder("video_folder")`.

    python -m cbvc_jax.data.tfds NAME --folder DIR [--data-dir DIR]      prepares one of them

The records of a split lie in array_record files in the order of the list or folder, which TFDS does not shuffle: what
reads them at random (`builder.as_data_source`) knows from a number which frames it gets.
"""

try:
    import tensorflow_datasets as _  # noqa: F401
except ImportError as error:
    from cbvc_jax.errors import UsageError

    raise UsageError("TFDS data sets need the package tensorflow-datasets: pip install 'cbvc-jax[tfds]'") from error

from cbvc_jax.data.tfds.video_folder import VideoFolder, VideoFolderConfig
from cbvc_jax.data.tfds.vimeo90k_septuplet import Vimeo90kSeptuplet

__all__ = ["VideoFolder", "VideoFolderConfig", "Vimeo90kSeptuplet"]
