"""Search of hyper-parameters by Optuna, in a database that several processes and machines can share."""

from __future__ import annotations

import itertools
import json
import re
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from xpnet.checks import import_library
from xpnet.datasets import Dataset
from xpnet.errors import InputError, TrainingDivergedError
from xpnet.parallel import connect
from xpnet.parallel.agreement import broadcast_text, together
from xpnet.runs import RunConfig
from xpnet.runs.settings import flatten
from xpnet.runs.trial_parameters import Parameters, Space, configure, rounded
from xpnet.training import Callback, Record, Trainer

SAMPLERS = ("tpe", "random", "grid")
COMPLETE, DIVERGED, RUNNING, WAITING = "complete", "diverged", "running", "waiting"
LOGARITHMIC = ("learning_rate", "weight_decay")
_OF_THIS_MACHINE = ("data_dir", "device", "backend", "threads", "kernels", "tune_malloc", "parallel", "allreduce_dtype")
_ATTEMPTS, _PAUSE_SECONDS = 3, 0.5  # to open a database: of two processes that make its tables at once, one fails
_PASSWORD = re.compile(r"(://[^:/@]*:)[^@]*(?=@)|(password=)[^&]*")  # in the URL of a database
_NO_OPTUNA = (
    "Search: expected Optuna, found none installed. "
    'Install it with: pip install "xpnet[search]" (in a clone: pip install -e ".[search]").'
)
_LOCKED_SECONDS = 60  # that a process waits for another one to write into the same SQLite file


class Trial(NamedTuple):
    """A trial: its parameters, its last validation accuracy (None: none yet), and how it ended.

    The state is complete, pruned, diverged, or what Optuna calls it: running, waiting, fail (stopped by Ctrl-C).
    """

    number: int
    parameters: Parameters
    accuracy: float | None
    state: str
    seconds: float


class Search:
    """One study in a database: made by the first process that asks for it, and continued by all others.

    ``sampler`` is one of SAMPLERS: tpe learns from the trials so far, random samples independently, grid tries
    every combination of the values in ``space``. The first two choose between the smallest and the largest value, on a
    logarithmic scale for learning rate and weight decay (unless it begins at 0), or one of the topologies. ``storage``
    is a file for SQLite or an SQLAlchemy URL. Each trial draws from its own seed, so that processes never repeat each
    other.

    With ``config.runtime.parallel`` all ranks make the same search and ``run`` it: they train each trial together, and
    the first alone uses Optuna and the database, so only there do the other methods work.

    Raises InputError if Optuna is missing, the database cannot be used, or the study was begun with other settings.
    Source: Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011 (TPE); Golovin et al., "Google
    Vizier", KDD 2017, section 3.2 (pruning below the median).
    """

    def __init__(
        self, config: RunConfig, dataset: Dataset, space: Space, *, sampler: str, storage: str, name: str
    ) -> None:
        self._config, self._dataset, self._space, self._sampler = config, dataset, space, sampler
        self._storage, self._group = storage, connect(config.runtime.parallel)
        config.make_trainer(dataset)  # refuses what does not fit before there is a study that was begun with it
        with together(self._group):
            for topology in space.get("hidden", ()):
                configure(config, {"hidden": topology}).make_network(dataset)
            if self._group.rank == 0:
                self._optuna = import_library("optuna", _NO_OPTUNA)
                self._study = self._open(name)
                self._check_settings(name)

    def run(self, trials: int, on_trial: Callable[[Trial], None] = lambda tried: None) -> None:
        """Try so many more parameters, or what is left of the grid; ``on_trial`` is called after each.

        Ctrl-C (KeyboardInterrupt) comes through; the trial in progress is restarted by whoever next runs this study.
        The other ranks would wait for the first one then: end them. Raises InputError if the database is lost.
        """
        if self._group.rank > 0:
            self._follow()
            return

        def report(study: Any, trial: Any) -> None:
            if trial.params:  # none: another process had begun the last combination of the grid
                on_trial(_tried(trial))

        try:
            for _ in range(trials):
                if self._sampler == "grid" and not self.waiting():
                    break
                self._study.optimize(self._try, 1, callbacks=[report])
        except self._optuna.exceptions.StorageInternalError as error:
            raise self._unusable(error.__cause__ or error) from error
        self._tell(None)

    def trials(self) -> list[Trial]:
        """All trials of the study so far that have parameters, in order."""
        return [tried for tried in map(_tried, self._study.get_trials(deepcopy=False)) if tried.parameters]

    def waiting(self) -> int:
        """How many trials wait for a process: those that Ctrl-C stopped, and what is left of the grid."""
        stopped = sum(tried.state == WAITING for tried in self.trials())
        left = len(self._grid()) - len(self._begun()) if self._sampler == "grid" else 0
        return stopped + max(left, 0)

    def running(self) -> int:
        """How many trials run in a process, or did when it was killed: the database cannot tell."""
        return sum(tried.state == RUNNING for tried in self.trials())

    def _try(self, trial: Any) -> float:
        """Train with the parameters of a trial; one that falls behind the others is pruned."""
        self._study.sampler = self._make_sampler(trial.number)
        parameters, pruning = self._suggest(trial), _Pruning(trial)
        try:
            self._tell(parameters)
            history = configure(self._config, parameters).make_trainer(self._dataset).run([pruning])
        except TrainingDivergedError as error:
            trial.set_user_attr(DIVERGED, True)
            raise self._optuna.TrialPruned from error
        except KeyboardInterrupt:
            self._study.enqueue_trial(trial.params)
            raise
        if pruning.is_behind:
            raise self._optuna.TrialPruned
        return history[-1].monitored

    def _tell(self, parameters: Parameters | None) -> None:
        """Give the other ranks the parameters of a trial, or None after the last one."""
        broadcast_text(self._group, json.dumps(parameters), 0)

    def _follow(self) -> None:
        """Train each trial with the first rank, which ends one that is pruned on all ranks."""
        while parameters := json.loads(broadcast_text(self._group, "", 0)):
            with suppress(TrainingDivergedError):
                configure(self._config, parameters).make_trainer(self._dataset).run()

    def _suggest(self, trial: Any) -> Parameters:
        parameters = {}
        for name, values in self._space.items():
            if name == "hidden":
                parameters[name] = trial.suggest_categorical(name, values)
            else:
                low, high = min(values), max(values)
                parameters[name] = trial.suggest_float(name, low, high, log=name in LOGARITHMIC and low > 0)
        return rounded(parameters)

    def _make_sampler(self, trial: int) -> Any:
        samplers = self._optuna.samplers
        seed = int(np.random.SeedSequence((self._config.train.seed, trial)).generate_state(1)[0])
        sampler = samplers.TPESampler(seed=seed) if self._sampler == "tpe" else samplers.RandomSampler(seed=seed)
        return self._make_grid_sampler(trial, sampler) if self._sampler == "grid" else sampler

    def _make_grid_sampler(self, trial: int, otherwise: Any) -> Any:
        """What gives a trial its combination of the grid; a restarted one has its parameters already."""
        grid, begun = self._grid(), self._begun()
        if trial not in begun:
            return otherwise
        place = begun.index(trial)
        if place >= len(grid):
            raise self._optuna.TrialPruned
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)  # it is so since 2020
            return self._optuna.samplers.PartialFixedSampler(grid[place], otherwise)

    def _grid(self) -> list[Parameters]:
        """Every combination. A trial's number says which is its own, so that processes need not agree."""
        return [dict(zip(self._space, values, strict=True)) for values in itertools.product(*self._space.values())]

    def _begun(self) -> list[int]:
        """Numbers of the trials but restarted ones, which have their parameters from the beginning."""
        return [trial.number for trial in self._study.get_trials(deepcopy=False) if not _given(trial)]

    def _open(self, name: str) -> Any:
        optuna = self._optuna
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        for attempt in range(_ATTEMPTS):
            try:
                return optuna.create_study(
                    storage=self._connect(),
                    sampler=optuna.samplers.RandomSampler(),  # each trial gets its own
                    pruner=optuna.pruners.MedianPruner(),
                    study_name=name,
                    direction="maximize",
                    load_if_exists=True,
                )
            except Exception as error:  # of Optuna, SQLAlchemy or a database's driver, each with its own kinds
                if attempt == _ATTEMPTS - 1:
                    raise self._unusable(error) from error
                time.sleep(_PAUSE_SECONDS)
        return None

    def _connect(self) -> Any:
        RDBStorage = self._optuna.storages.RDBStorage
        url = self._storage if "://" in self._storage else f"sqlite:///{self._storage}"
        if not url.startswith("sqlite"):
            # Servers and what lies between close connections that are idle for as long as a training takes.
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        options = {"timeout": _LOCKED_SECONDS, "isolation_level": None}
        storage = RDBStorage(url, engine_kwargs={"connect_args": options})
        # SQLite locks no rows: two processes would take the same waiting trial between a look and a write.
        import_module("sqlalchemy").event.listen(
            storage.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE")
        )
        return storage

    def _unusable(self, error: BaseException) -> InputError:
        """What a database's error says, in one line and without the password."""
        shown = _PASSWORD.sub(r"\1\2***", self._storage)
        if isinstance(error, ImportError):
            return InputError(
                f"Storage {shown}: expected the database's driver, got: {error.__cause__ or error}. "
                'Install it, for postgresql+psycopg:// with: pip install "psycopg[binary]".'
            )
        reason = " ".join(str(getattr(error, "orig", error)).split())  # orig: the driver's own, without SQLAlchemy's
        reason = reason.replace(self._storage, shown)[:200].rstrip(".")
        return InputError(f"Storage {shown}: cannot be used ({reason}). Choose another one.")

    def _check_settings(self, name: str) -> None:
        """What a trial's accuracy depends on must be the same for all of them."""
        settings = {**flatten(self._config), "values": {**self._space}}
        here = json.loads(json.dumps({key: settings[key] for key in settings if key not in _OF_THIS_MACHINE}))
        begun = self._study.user_attrs.get("settings")
        if begun is None:
            self._study.set_user_attr("settings", here)
            return
        for key in here.keys() & begun.keys():
            if here[key] != begun[key]:
                raise InputError(
                    f"Study {name!r}: expected {key} {begun[key]}, as when it was begun, got {here[key]}. "
                    "Use the same settings, or another name of the study."
                )


def best(trials: Sequence[Trial]) -> Trial | None:
    """The completed trial of the highest validation accuracy, the first of equal ones; None if there is none."""
    completed = [tried for tried in trials if tried.state == COMPLETE and tried.accuracy is not None]
    return max(completed, key=lambda tried: tried.accuracy or 0.0, default=None)


class _Pruning(Callback):
    """Tells a study each validation accuracy, and ends a training that falls behind, on all ranks."""

    def __init__(self, trial: Any) -> None:
        self._trial, self.is_behind = trial, False

    def on_report(self, trainer: Trainer, record: Record) -> None:
        self._trial.report(record.monitored, record.iteration)
        if trainer.iteration < trainer.iterations and self._trial.should_prune():
            self.is_behind = True
            trainer.stop()


def _tried(trial: Any) -> Trial:
    state = DIVERGED if trial.user_attrs.get(DIVERGED) else trial.state.name.lower()
    last = max(trial.intermediate_values, default=None)
    return Trial(
        trial.number,
        rounded(trial.params or _given(trial)),
        trial.value if trial.value is not None else trial.intermediate_values.get(last),
        state,
        trial.duration.total_seconds() if trial.duration else 0.0,
    )


def _given(trial: Any) -> Parameters:
    """The parameters that a trial had before it began: those of the trial that it repeats."""
    return trial.system_attrs.get("fixed_params", {})
