"""The study on generated pictures: the paper's rows, the networks of others, and controls, from scratch. Three seeds.

Command: python -m experiments.sweep local configs/sweeps/demo.py
Half of the pictures carry a style here, so that all three tasks learn.
"""

from experiments.sweep import Sweep

ROWS = (
    # section 4's ablations
    "nasnet_wrap", "mt_nasnet", "sf_nasnet", "vd_nasnet", "mtp_nasnet",
    # the networks of others
    "nima", "dcnn", "dcnn_style", "dma_net", "mna_cnn", "fcn_dist", "sane",
    # one change each
    "gap_native", "sf_warp", "sf_fcn", "sf_spp", "mt_sf", "weights_permuted", "dist_two", "dist_style", "two_only",
    "vd_two_tasks", "sigma_learned", "losses_added", "cascade", "one_rate", "no_augmentation", "two_trunks",
)  # fmt: skip


def get_sweep():
    return Sweep(
        rows={row: f"configs/rows/{row}.py:demo" for row in ROWS},
        seeds=(0, 1, 2),
        compared_with="nasnet_wrap",
        claim="emd_r2",
        comparisons=(
            # two columns beside one, on the same pictures
            ("sf_nasnet", "gap_native"),
            # several tasks beside one, on the same pictures and columns
            ("mt_sf", "sf_nasnet"),
            # weights beside none, and beside those of other pictures
            ("mtp_nasnet", "mt_sf"),
            ("mtp_nasnet", "weights_permuted"),
            # how the tasks' losses are added
            ("mtp_nasnet", "losses_added"),
            ("mtp_nasnet", "sigma_learned"),
            ("mtp_nasnet", "cascade"),
            ("mtp_nasnet", "one_rate"),
            ("mtp_nasnet", "no_augmentation"),
            ("mtp_nasnet", "two_trunks"),
        ),
    )
