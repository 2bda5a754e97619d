"""docs/options.md from the records."""

from mtp.config.option import Known, Option
from mtp.config.records import OPTIONS, SECTIONS

INTRODUCTION = """\
# Options

Made from [`mtp/config/records.py`](../mtp/config/records.py) by `python -m mtp.options > docs/options.md`; a test holds
it current. An experiment's file in `configs/` changes values, and so does the command line:

```bash
python -m mtp.main --config=configs/demo.py --config.loss.emd_r=1 --config.model.columns=gap,spp --workdir=runs/x
```

`--config.input.sizes="((112, 168), (168, 112))"` is a tuple of tuples, `--config.loss.delta=None` leaves a value to be
derived, and `--config.model.remat` and `--noconfig.model.remat` switch. All errors are reported at once, before any
data is read; an option that has no effect beside the others is noted.

"Source" is where the default comes from: sections are the paper's. "Shapes" decides who may set an option:

| shapes | another value in a workdir that holds a checkpoint | `--mode=evaluate` |
|---|---|---|
| where the data lie | allowed, where the same pictures and labels lie there (compared by SHA-256) | allowed |
| the data | refused | allowed; what describes a folder (*) is forgotten where `data.dir` names another one |
| the training | refused | refused |
| the choice of the best checkpoint | refused | allowed |
| the evaluation | allowed: the table is made again, without training | allowed |
| no number | allowed | allowed |
"""


def markdown(known: Known) -> str:
    """The page; known: the names that other packages define."""
    parts = [INTRODUCTION]
    for section, title in SECTIONS.items():
        options = [option for option in OPTIONS.values() if option.section == section]
        heading = f"## {section}: {title}" if section else f"## {options[0].name}: {title}"
        table = [
            "| option | default | must be | unit | meaning | source | shapes |",
            "|---|---|---|---|---|---|---|",
        ]
        parts.append("\n".join([heading, "", *table, *(_row(option, known) for option in options), ""]))
    return "\n".join(parts)


def _row(option: Option, known: Known) -> str:
    star = " (*)" if option.of_folder else ""
    cells = (
        f"`{option.name}`",
        f"`{option.default!r}`",
        option.kind_among(known).says(),
        option.unit,
        option.meaning,
        option.source,
        f"{option.reach.value}{star}",
    )
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
