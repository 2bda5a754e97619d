"""The study on real photographs, trained end to end: five rows, a change for each claim, chosen before any of them ran.

Command: python -m experiments.sweep local configs/sweeps/fine_tuned.py --config.data.dir=FOLDER
Squares of 160, and as many pixels where the aspect ratio is kept, so that a job takes a minute on 2 cores.
"""

from experiments.sweep import Sweep

ROWS = (
    "nasnet_wrap",
    # sizes: the aspect ratio is kept
    "keep_aspect",
    # two columns
    "keep_aspect_sf",
    # two tasks
    "dist_two",
    # reliability weights
    "vd_nasnet",
)


def get_sweep():
    return Sweep(
        rows={row: f"configs/rows/{row}.py:fine_tuned,side=160" for row in ROWS},
        seeds=(0, 1, 2),
        folds=5,
        compared_with="nasnet_wrap",
        claim="emd_r2",
        comparisons=(("keep_aspect_sf", "keep_aspect"),),
    )
