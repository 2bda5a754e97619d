"""Who proposes the next point of a search: Optuna, an optional extra. It proposes, and keeps nothing."""

from collections.abc import Sequence
from typing import Any, Protocol

from experiments.sweep.plan import SweepError
from experiments.sweep.trials import Between, Ranges, Trial


class Sampler(Protocol):
    """Proposals are a function of the trials so far and of the number, so that a search goes on as it would have."""

    def propose(self, number: int, ended: Sequence[Trial]) -> dict[str, Any]:
        """A value for each range."""
        ...


class OptunaSampler:
    """Tree-structured Parzen estimator (Bergstra et al. 2011), a fresh in-memory study for each proposal.

    Errors: SweepError where optuna is not installed.
    """

    def __init__(self, ranges: Ranges, seed: int):
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise SweepError('search needs Optuna; install it: pip install "optuna>=4,<6"') from error
        self._optuna, self._ranges, self._seed = optuna, ranges, seed
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def propose(self, number: int, ended: Sequence[Trial]) -> dict[str, Any]:
        optuna = self._optuna
        distributions = {
            name: optuna.distributions.FloatDistribution(given.low, given.high, log=given.log)
            if isinstance(given, Between)
            else optuna.distributions.CategoricalDistribution(given.values)
            for name, given in self._ranges.items()
        }
        seed = 100_000 * self._seed + number
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        for trial in ended:
            state = optuna.trial.TrialState.FAIL if trial.score is None else optuna.trial.TrialState.COMPLETE
            params = dict(trial.proposed)
            study.add_trial(
                optuna.trial.create_trial(
                    state=state, params=params, distributions=distributions, value=trial.score
                )
            )
        return dict(study.ask(distributions).params)
