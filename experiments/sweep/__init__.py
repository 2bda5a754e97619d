"""Sweeps: rows x seeds (x folds) of experiments from one Python file, run anywhere, tables from small files.

    python -m experiments.sweep COMMAND FILE [--out=FOLDER] [--config.x.y=VALUE ...]

docs/sweeps.md says what each command does. The file's get_sweep() returns a `Sweep`, get_search() a `Search`.
"""

from experiments.sweep.plan import Row, Sweep
from experiments.sweep.trials import Between, OneOf, Search

__all__ = ["Between", "OneOf", "Row", "Search", "Sweep"]
