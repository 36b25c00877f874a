"""`light` of the paper's Table 3: `wca4` with the light decoder.

`--config configs/light.py:low,ms_ssim` names rate and distortion.
"""

import ml_collections

from configs import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    return base.paper("light", variant)
