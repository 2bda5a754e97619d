"""Table 1's learners: features, grids, seeds and how rows are compared.

Command: python -m experiments.table1 --data=demo --backbone=runs/demo --config=configs/ldl/table1.py
Each grid is a product of its lists. A point is fitted on the training split (at most `tune_rows` of it, the first
seed); the lowest mean of `criterion` on the validation split wins, the first one of a tie. The winner is then fitted
on the whole training split with every seed.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.seeds = (0, 1, 2)  # of random features; learners that draw nothing give the same at each
    c.dimensions = 64  # principal components of the standardised features
    c.criterion = "ped"  # a per-picture metric, lower is better
    c.tune_rows = 5000  # training rows of a grid point; drawn with the first seed

    c.grid = ConfigDict()
    c.grid.iis_lld = {"iterations": (50, 200, 1000)}  # early stopping is its only regulariser
    c.grid.bfgs_lld = {"penalty": (0.0, 1e-4, 1e-3, 1e-2, 1e-1)}  # a picture
    c.grid.aa_knn = {"k": (1, 3, 5, 10, 20, 50, 100, 200), "metric": ("l2", "cosine")}
    c.grid.ldsvr = {"c": (0.01, 0.1, 1.0, 10.0), "epsilon": (0.01, 0.1), "width": (0.5, 1.0, 2.0)}
    c.grid.svdr_like = {
        "c": (0.1, 1.0, 10.0),
        "epsilon": (0.0, 0.05),
        "width": (1.0, 2.0),
        "features": (512,),
    }

    # rows that explain printed ones: the learner is stopped early, the neighbours know nothing
    c.iis_stopped = 10  # iterations from the uniform start, without a bias
    c.random_neighbours = 15

    c.bootstrap = 1000  # resamples of the 95 % intervals
    c.pkl_floor = 1e-7  # Eq. 6's floor; 1e-3 is printed beside it
    c.compared_with = "mean histogram"  # the row that every claim is a difference to
    c.claim = "emd_r2"  # the metric of the claims
    c.level = 0.05  # of Holm-adjusted p-values
    return c
