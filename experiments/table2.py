"""Table 2: high or low, from the mean of the predicted histogram and from the two-category head, at delta 0 and 1.

    python -m experiments.table2 SWEEP [--out=DIR]

SWEEP: the folder of a sweep (docs/sweeps.md) of rows of configs/rows/. Prints the table in Markdown, and writes
table2.md to the folder, or to --out.
"""

import sys

from experiments.tables import paper_pages

if __name__ == "__main__":
    paper_pages.main(sys.argv[1:], 2)
