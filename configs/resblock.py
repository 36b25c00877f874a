"""`resblock` of the paper's Table 3: residual blocks in place of attention.

`--config configs/resblock.py:low,ms_ssim` names rate and distortion.
"""

import ml_collections

from configs import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    return base.paper("resblock", variant)
