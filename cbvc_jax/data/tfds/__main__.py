"""Prepares a TFDS data set: `python -m cbvc_jax.data.tfds vimeo90k_septuplet --folder DIR [--data-dir DIR]`.

`video_folder/NAME --folder DIR [--frames 16]` makes one of any folder of videos, under a name of your choice.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cbvc_jax.errors import CbvcError


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m cbvc_jax.data.tfds", description=__doc__)
    parser.add_argument("name", help="vimeo90k_septuplet, video_folder or video_folder/NAME")
    parser.add_argument("--folder", required=True, type=Path, help="the downloaded data, or the videos")
    parser.add_argument("--data-dir", type=Path, default=Path("~/tensorflow_datasets"), help="where data sets lie")
    parser.add_argument("--frames", type=int, help="frames of a chunk of video_folder")
    args = parser.parse_args(arguments)
    try:
        from cbvc_jax.data.tfds.prepare import prepare

        print(prepare(args.name, args.folder, args.data_dir.expanduser(), args.frames))
    except CbvcError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
