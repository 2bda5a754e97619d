"""The predictor: a trained network that turns pictures, with votes or without, into predictions."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int
from tqdm import tqdm

from mtp import files
from mtp.config import Config, configured, flat
from mtp.data.batches.pipeline import evaluation_batches, evaluation_canvases
from mtp.data.batches.sizes import Shape, SizeRule
from mtp.data.batches.views import Canvas, View
from mtp.data.errors import DataError
from mtp.data.identity import picture_hashes, sha256_of
from mtp.data.schema import Pictures
from mtp.inference.facts import Facts
from mtp.inference.feature_store import Compute, FeatureStore
from mtp.inference.models import build_model
from mtp.inference.predictions import Predictions
from mtp.inference.programs import Program, Programs
from mtp.models.model import Model, Variables
from mtp.native import choice
from mtp.runtime.checkpoint import CheckpointError, Checkpoints
from mtp.runtime.mesh import data_mesh, put_batch, replicated, replicated_shapes
from mtp.runtime.settings import compiler_options
from mtp.tasks import TASKS

MEND_TRAINED = (
    "copy the whole workdir again, or delete results.json and run the training command: it writes it anew"
)
TRAINED = "training_pictures.npy"  # in a workdir: `picture_hashes` of what its network was trained on


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """A network with its variables, and everything that its predictions depend on.

    config: of the run; `eval` says how pictures are looked at. trained: sorted `picture_hashes` of the pictures that it
    was trained on. step: of the checkpoint. meta: what else the checkpoint says. programs: the jitted functions,
    compiled once a canvas shape, which copies with other variables share. store: keeps what the last layers see; None
    where that is not kept.
    """

    config: Config
    facts: Facts
    model: Model
    mesh: Mesh
    variables: Variables
    trained: np.ndarray
    step: int
    meta: Mapping[str, Any]
    programs: Programs
    store: FeatureStore | None = None

    @classmethod
    def load(cls, workdir: Path, *, step: int | None = None, config: Config | None = None) -> "Predictor":
        """The network that a workdir holds: its best checkpoint, or that of `step`.

        config: other options than it was trained with, of data, eval and run, run.native resolved. Nothing is written;
        optimiser and counters are not read. Errors: CheckpointError where there is none, it is damaged or does not fit.
        """
        checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
        try:
            step = checkpoints.best_known_step() if step is None else step
            meta = checkpoints.meta(step)
            options = choice.resolved(_options(meta)) if config is None else config
            facts = Facts.from_json(meta["facts"])
            model = build_model(options, facts)
            shapes = jax.eval_shape(model.init, options.seed)
            mesh = data_mesh(options.run.devices)
            variables, meta = checkpoints.restore_model(replicated_shapes(shapes, mesh), step)
        finally:
            checkpoints.close()
        trained = _trained_pictures(workdir / TRAINED, meta["training_pictures_sha256"])
        return cls.of(options, facts, model, variables, mesh=mesh, trained=trained, step=step, meta=meta)

    @classmethod
    def untrained(cls, config: Config, ratings: int) -> "Predictor":
        """The network of a configuration before any training, for pictures rated 1..`ratings`, without styles.

        Its variables are those of the seed, the trunks' replaced by published ones where model.weights names them: this
        gives the features of published weights. Errors: WeightsError where these are missing or do not fit.
        """
        facts, weights = Facts.of_scale(ratings), config.model.weights
        model, mesh = build_model(config, facts), data_mesh(config.run.devices)
        initial = jax.jit(
            model.init,
            out_shardings=replicated(mesh),
            compiler_options=compiler_options(run_once=True),
        )(config.seed)
        variables = jax.device_put(model.load(initial, weights), replicated(mesh)) if weights else initial
        return cls.of(config, facts, model, variables, mesh=mesh)

    @classmethod
    def of(
        cls,
        config: Config,
        facts: Facts,
        model: Model,
        variables: Variables,
        *,
        mesh: Mesh,
        trained: np.ndarray | None = None,
        step: int = 0,
        meta: Mapping[str, Any] | None = None,
        store: FeatureStore | None = None,
    ) -> "Predictor":
        """A predictor of parts that are there already."""
        trained = np.zeros(0, np.uint64) if trained is None else trained
        programs = Programs(
            model, facts.style_kind, native=config.run.native == "on", precision=config.model.precision
        )
        return cls(config, facts, model, mesh, variables, trained, step, meta or {}, programs, store)

    def with_variables(self, variables: Variables) -> "Predictor":
        """The same network with other variables; its compiled programs serve both."""
        return dataclasses.replace(self, variables=variables)

    def trained_on(self, pictures: Pictures, indices: np.ndarray) -> int:
        """How many of these pictures' files it was trained on, whatever their names."""
        return len(np.intersect1d(picture_hashes(pictures, indices), self.trained))

    def view(self, rule: str = "") -> View:
        """How pictures are looked at under a size rule ("": eval.size)."""
        parsed = self._rule(rule)
        return self.model.view(Canvas(rule=parsed, reads=self.model.reads, fit=parsed.fit))

    def sizes(self, pictures: Pictures, indices: np.ndarray, rule: str = "") -> Int[np.ndarray, "N 2"]:
        """Height and width at which each picture is looked at.

        Errors: DataError naming a picture that is larger than eval.max_pixels (unless eval.too_large=shrink).
        """
        e, parsed, wanted = self.config.eval, self._rule(rule), []
        for index in indices:
            height, width = map(int, pictures.sizes[index])
            try:
                wanted.append(parsed.within((height, width), e.max_pixels, e.too_large))
            except DataError as error:
                raise DataError(f"{pictures.images[index]}: {error}") from error
        return np.array(wanted, np.int32).reshape(-1, 2)

    def _rule(self, rule: str) -> SizeRule:
        c = self.config
        return SizeRule.parse(rule or c.eval.size, c.input.sizes, self.model.min_side)

    def canvases(self, sets: Sequence[tuple[Pictures, np.ndarray, str]]) -> dict[Shape, int]:
        """Canvas shapes for all these (pictures, indices, size rule), and pictures a batch: one program each."""
        e = self.config.eval
        taken = [
            self.view(rule).occupied(self.sizes(pictures, indices, rule)) for pictures, indices, rule in sets
        ]
        return evaluation_canvases(taken, e.canvases, e.batch_pixels, self.mesh.size)

    def predict(
        self,
        pictures: Pictures,
        indices: np.ndarray | None = None,
        *,
        rule: str = "",
        canvases: Mapping[Shape, int] | None = None,
    ) -> Predictions:
        """Every picture of `indices` (None: all) exactly once under a size rule ("": eval.size).

        canvases: of `canvases`, where several predictions are to share their programs.
        """
        indices = np.arange(len(pictures)) if indices is None else indices
        if self.config.train.method == "features":
            # as it was fitted: the same programs, and what is kept is not computed again
            seen: Any = {"features": self.last_features(pictures, indices, rule=rule, canvases=canvases)}
            found = jax.device_get(self.programs.of_features(self.variables, seen))
            rows = {task: np.asarray(values, np.float64) for task, values in found.items()}
        else:
            rows = self._run(self.programs.probabilities, pictures, indices, rule, canvases, "evaluating")
        for task in rows:
            if TASKS[task].kind == "histogram":
                # float32 rows sum to one within 1e-6 only
                rows[task] /= rows[task].sum(axis=1, keepdims=True)
        return Predictions(indices, rows)

    def features(
        self,
        pictures: Pictures,
        indices: np.ndarray | None = None,
        *,
        rule: str = "",
        canvases: Mapping[Shape, int] | None = None,
    ) -> Float[np.ndarray, "N C"]:
        """The first trunk's last map, averaged over each picture's cells, float32."""
        indices = np.arange(len(pictures)) if indices is None else indices
        rows = self._run(self.programs.features, pictures, indices, rule, canvases, "features")
        return rows["features"].astype(np.float32)

    def last_features(
        self,
        pictures: Pictures,
        indices: np.ndarray,
        *,
        rule: str = "",
        canvases: Mapping[Shape, int] | None = None,
    ) -> Float[np.ndarray, "N F"]:
        """What the last layers see of each picture (`Model.last_layers`), float32; from the store, if there is one."""

        def compute(some: np.ndarray, canvases: Mapping[Shape, int] | None) -> np.ndarray:
            rows = self._run(self.programs.last_features, pictures, some, rule, canvases, "features")
            return rows["features"].astype(np.float32)

        def computing(missing: np.ndarray) -> Compute:
            # one choice of canvases for all parts, or each would compile programs of its own
            chosen = self.canvases([(pictures, missing, rule)])
            return lambda some: compute(some, chosen)

        if self.store is None:
            return compute(indices, canvases)
        return self.store.features(pictures, indices, rule or self.config.eval.size, computing)

    def details(
        self, pictures: Pictures, indices: np.ndarray | None = None, *, rule: str = ""
    ) -> Iterator[dict[str, Any]]:
        """Of one picture after the other what the network sows on its way (`MTPNasNet`), cut to the picture's cells.

        "map" (h, w, C), and "cells": column -> task -> logits (h, w, outputs).
        """
        indices = np.arange(len(pictures)) if indices is None else indices
        for index in indices:
            alone = np.array([index])
            found = next(iter(self._batches(self.programs.details, pictures, alone, rule, None)))[1]
            yield _of_one_picture(found)

    def _run(
        self,
        program: Program,
        pictures: Pictures,
        indices: np.ndarray,
        rule: str,
        canvases: Mapping[Shape, int] | None,
        what: str,
    ) -> dict[str, np.ndarray]:
        """A program's outputs by name, one row a picture, float64."""
        rows: dict[str, np.ndarray] = {}
        with tqdm(total=len(indices), desc=what, unit="picture", disable=None, leave=False) as bar:
            for places, outputs in self._batches(program, pictures, indices, rule, canvases):
                real = places >= 0
                for name, values in outputs.items():
                    store = rows.setdefault(name, np.full((len(indices), *values.shape[1:]), np.nan))
                    store[places[real]] = values[real]
                bar.update(int(real.sum()))
        return rows

    def _batches(
        self,
        program: Program,
        pictures: Pictures,
        indices: np.ndarray,
        rule: str,
        canvases: Mapping[Shape, int] | None,
    ) -> Iterator[tuple[np.ndarray, Mapping[str, np.ndarray]]]:
        """(rows of `indices`, -1 for fillers; the program's outputs), batch by batch."""
        canvases = self.canvases([(pictures, indices, rule)]) if canvases is None else canvases
        sizes, view = self.sizes(pictures, indices, rule), self.view(rule)
        for places, inputs in evaluation_batches(
            pictures, indices, sizes, canvases, view, self.config, self.model.min_side
        ):
            yield places, jax.device_get(program(self.variables, put_batch(inputs, self.mesh)))


def _options(meta: Mapping[str, Any]) -> Config:
    """As trained."""
    return configured(choice.for_inference(flat(meta["config"])))


def _trained_pictures(path: Path, sha256: str) -> np.ndarray:
    """Hashes of the pictures that a network was trained on, from its workdir.

    Errors: CheckpointError on other ones; DamagedFileError.
    """
    trained = files.read_array(path, MEND_TRAINED)
    if trained is None or sha256_of(trained) != sha256:
        raise CheckpointError(
            f"{path} must hold the hashes of the training pictures that the checkpoint names; it "
            f"{'is missing' if trained is None else 'holds others'}. {MEND_TRAINED}"
        )
    return trained


def _of_one_picture(found: Mapping[str, Any]) -> dict[str, Any]:
    """The first slot of a batch's details, maps cut to the picture's cells in their bottom-right corner."""
    height, width = (int(side) for side in found["map_sizes"][0])

    def cut(maps: np.ndarray) -> np.ndarray:
        return maps[0, maps.shape[1] - height :, maps.shape[2] - width :]

    cells = {
        column: {task: cut(logits) for task, logits in sown["cells"].items()}
        for column, sown in found.get("heads", {}).items()
        if "cells" in sown
    }
    return {"map": cut(found["map"]), "cells": cells}
