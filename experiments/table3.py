"""Table 3: what crops, warps, pads and the picture as it is are worth, with the pixels that each network looks at.

    python -m experiments.table3 SWEEP [--out=DIR]

SWEEP: the folder of a sweep (docs/sweeps.md) of rows of configs/rows/. Prints the table in Markdown, and writes
table3.md to the folder, or to --out.
"""

import sys

from experiments.tables import paper_pages

if __name__ == "__main__":
    paper_pages.main(sys.argv[1:], 3)
