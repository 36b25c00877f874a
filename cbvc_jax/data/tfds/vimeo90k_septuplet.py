"""`vimeo90k_septuplet`: 91,701 clips of seven frames, their PNGs as they were downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from cbvc_jax.data.tfds.ordered import KEYS, OrderedBuilder
from cbvc_jax.data.vimeo import FRAMES, LISTS, picture_file, read_list
from cbvc_jax.errors import VideoError

HEIGHT, WIDTH = 256, 448


class Vimeo90kSeptuplet(OrderedBuilder):
    """Splits `train` (64,612 clips) and `test` (7,824), as the lists of the download say."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Download the septuplet set of Vimeo-90k ("The original training + test set, 82 GB") from the page of the project
    "Video Enhancement with Task-Oriented Flow" (toflow) and unpack it. manual_dir is the unpacked folder
    vimeo_septuplet, with sequences/00001/0001/im1.png ... im7.png, sep_trainlist.txt and sep_testlist.txt in it.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        picture = tfds.features.Image(shape=(HEIGHT, WIDTH, 3), encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self,
            description="Vimeo-90k: septuplets, seven consecutive frames of 448x256 each.",
            features=tfds.features.FeaturesDict(
                {
                    "video": tfds.features.Sequence(picture, length=FRAMES, doc="Seven frames of uint8 RGB."),
                    "sequence": tfds.features.Text(doc="Name of the clip, such as 00001/0001."),
                }
            ),
            citation=CITATION,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder = self.manual_folder(dl_manager)
        names = {split: read_list(folder, split) for split in LISTS}
        return {split: self._generate_examples(folder / "sequences", names[split]) for split in names}

    def _generate_examples(self, sequences: Path, names: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, name in enumerate(names):
            video = [_read_png(picture_file(sequences / name, t)) for t in range(FRAMES)]
            yield i * (KEYS // len(names)), {"video": video, "sequence": name}


def _read_png(file: Path) -> bytes:
    """The bytes of a whole PNG of 448x256; VideoError for anything else."""
    try:
        data = file.read_bytes()
        with Image.open(BytesIO(data), formats=("PNG",)) as picture:
            size, mode = picture.size, picture.mode
            picture.verify()
    except (OSError, SyntaxError) as error:
        raise VideoError(f"data set vimeo90k_septuplet: '{file}' cannot be read: {error}") from error
    if (size, mode) != ((WIDTH, HEIGHT), "RGB"):
        raise VideoError(f"data set vimeo90k_septuplet: '{file}' is not RGB of {WIDTH}x{HEIGHT}")
    return data


CITATION = """\
@article{xue2019video,
  title={Video Enhancement with Task-Oriented Flow},
  author={Xue, Tianfan and Chen, Baian and Wu, Jiajun and Wei, Donglai and Freeman, William T},
  journal={International Journal of Computer Vision},
  volume={127}, number={8}, pages={1106--1125}, year={2019}
}"""
