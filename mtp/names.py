"""Names as people see them: file names may hold what a terminal takes as a command, or a spreadsheet as a formula."""

import re

# what a spreadsheet computes, also behind the marks that were put before it, and in the wide forms of East Asia
FORMULA = re.compile(r"'*[=+\-@\t\r＝＋－＠]")


def shown(name: str) -> str:
    """A name for the terminal: what cannot be printed stands as an escape (\\x1b)."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in name)


def harmless(cell: str) -> str:
    """A cell for a CSV file that people open in a spreadsheet: ' before what it would compute."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def exact(cell: str) -> str:
    """What was made `harmless`, as it was; any other cell as it is."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
