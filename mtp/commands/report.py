"""Evaluate a checkpoint, write what there is to read, print the table."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtp import files, workdirs
from mtp.data.batches.sizes import Shape
from mtp.data.schema import Dataset
from mtp.evaluation import plan, results
from mtp.inference import columns
from mtp.inference.predictor import Predictor
from mtp.report import tables

LEFT_BEHIND = ("results.md", "results.json", "predictions.csv", "metrics.jsonl", "checkpoints")


def report(
    predictor: Predictor,
    step: int,
    dataset: Dataset,
    folder: Path,
    origin: Mapping[str, Any],
    notes: Sequence[str],
    *,
    finished: bool,
    canvases: Mapping[Shape, int],
) -> None:
    """Evaluate a checkpoint, write predictions and results, print the table and where all lies."""
    config, facts = predictor.config, predictor.facts
    indices, more = dataset.indices(config.eval.split), plan.elsewhere(dataset, config.eval.split)
    contents = []
    for rule, suffix in workdirs.suffixes(config).items():
        predicted = functools.partial(predictor.predict, dataset, rule=rule, canvases=canvases)
        predictions = predicted(indices)
        seen = predictor.view(rule).occupied(predictor.sizes(dataset, indices, rule))
        content = results.assemble(
            dataset, predictions, facts, config, elsewhere=predicted(more) if len(more) else None,
            split=config.eval.split, size_rule=rule, step=step, finished=finished, origin=origin, notes=notes,
            pixels=float(seen.prod(axis=1).mean()),
        )  # fmt: skip
        columns.write(
            folder / f"predictions{suffix}.csv", results.prediction_columns(dataset, predictions, facts)
        )
        files.write_text(folder / f"results{suffix}.md", tables.markdown(content))
        files.write_json(folder / f"results{suffix}.json", content)
        contents.append(content)
    show(contents, folder)


def show(contents: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Print the tables, and where everything lies."""
    for content in contents:
        print("\n" + tables.terminal(content))
    names = [name for name in LEFT_BEHIND if (folder / name).exists()]
    print(f"\n{', '.join(names[:-1])} and {names[-1]} lie in {folder}")
