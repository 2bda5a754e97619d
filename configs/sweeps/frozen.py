"""The study on real photographs: every row whose question a frozen trunk can answer, on features of lite0.

Command: python -m experiments.sweep local configs/sweeps/frozen.py --config.data.dir=FOLDER --out=runs/sweeps/frozen
Five folds, three seeds; a seed draws the inner folds that choose the strength. The tasks have last layers of their own
here, and the trunk learns from none of them: what several tasks give one another is not asked.
"""

from experiments.sweep import Sweep

ROWS = (
    # Table 3, one column, and what separates aspect ratio from resolution
    "nasnet_wrap", "nasnet_crop", "nasnet_pad", "gap_native", "keep_aspect", "warp_native_area", "warp_aspect",
    # the same with the two columns of SF-NasNet
    "sf_nasnet", "sf_warp", "sf_spp", "keep_aspect_sf", "warp_native_area_sf", "warp_aspect_sf",
    # reliability weights
    "vd_nasnet", "mtp_nasnet", "weights_permuted",
    # what others look at
    "dcnn", "dma_net", "dma_net_sort",
)  # fmt: skip


def get_sweep():
    return Sweep(
        rows={row: f"configs/rows/{row}.py:frozen" for row in ROWS},
        seeds=(0, 1, 2),
        folds=5,
        compared_with="nasnet_wrap",
        claim="emd_r2",
        comparisons=(
            # resolution and aspect ratio, each with the other one held
            ("gap_native", "keep_aspect"),
            ("gap_native", "warp_native_area"),
            ("sf_nasnet", "keep_aspect_sf"),
            ("sf_nasnet", "warp_native_area_sf"),
            ("sf_nasnet", "sf_warp"),
            # two columns beside one
            ("sf_nasnet", "gap_native"),
            # weights beside none, and beside those of other pictures
            ("mtp_nasnet", "sf_nasnet"),
            ("mtp_nasnet", "weights_permuted"),
            # all that was looked at, beside the whole picture
            ("dcnn", "gap_native"),
            ("dma_net", "gap_native"),
        ),
    )
