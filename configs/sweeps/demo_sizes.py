"""The study on generated pictures: what crops, warps and pads cost a network that learns from scratch. Five seeds.

Command: python -m experiments.sweep local configs/sweeps/demo_sizes.py
The generator's votes depend on aspect ratio and framing. With --config.data.demo_integrity=0 and another --out they do
not: the control, where sizes that are kept must show no gain.
"""

from experiments.sweep import Sweep

ROWS = (
    "nasnet_wrap", "nasnet_crop", "nasnet_pad", "gap_native", "keep_aspect", "warp_native_area", "warp_aspect",
    "sf_warp", "sf_nasnet",
)  # fmt: skip


def get_sweep():
    return Sweep(
        rows={row: f"configs/rows/{row}.py:demo" for row in ROWS},
        seeds=(0, 1, 2, 3, 4),
        compared_with="nasnet_wrap",
        claim="emd_r2",
        comparisons=(
            ("gap_native", "keep_aspect"),
            ("gap_native", "warp_native_area"),
            ("sf_nasnet", "sf_warp"),
            ("sf_nasnet", "gap_native"),
        ),
    )
