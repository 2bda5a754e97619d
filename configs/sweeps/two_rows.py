"""Pictures at their own size, or warped to a square: two rows, two seeds, on a folder of photographs with votes.

Command: python -m experiments.sweep local configs/sweeps/two_rows.py --config.data.dir=FOLDER
The last layers are fitted to features of one network, at the size that the pictures are evaluated at. The fit draws
nothing but its inner folds, so that two seeds differ little.
"""

from experiments.sweep import Row, Sweep


def get_sweep() -> Sweep:
    return Sweep(
        rows={
            "native": Row("configs/votes.py", {"eval.size": "native"}),
            "warped": Row("configs/votes.py", {"eval.size": "warp=224"}),
        },
        seeds=(0, 1),
        options={"model.backbone": "lite0", "model.columns": ("gap",)},
        compared_with="warped",
        claim="emd_r2",
    )
