"""`wca4` of the paper's Table 3: windowed cross-attention, windows of 4x4.

`--config configs/wca4.py:low,ms_ssim` names rate and distortion.
"""

import ml_collections

from configs import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    return base.paper("wca4", variant)
