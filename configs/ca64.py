"""`ca64` of the paper's Table 3: cross-attention in windows of 64x64.

`--config configs/ca64.py:low,ms_ssim` names rate and distortion.
"""

import ml_collections

from configs import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    return base.paper("ca64", variant)
