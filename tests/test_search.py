"""The search by Optuna, an optional library: these tests run with the extra ``parity``, as in the second pass of CI.

Those of a database on a network start a PostgreSQL server of their own, where one is installed.
"""

import dataclasses
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.helpers import refused
from xpnet.cli import search as cli
from xpnet.cli.search import main
from xpnet.datasets import Dataset, load
from xpnet.errors import InputError
from xpnet.runs import RunConfig
from xpnet.runs.settings import make_run
from xpnet.runs.trial_parameters import configure, parse_hidden
from xpnet.search import Search, Trial, best
from xpnet.training import Trainer

optuna = pytest.importorskip("optuna")

RATES = {"learning_rate": (0.2, 0.21, 0.22, 0.23, 0.24, 0.25)}
CLOSE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'search'"
SPACE = {"learning_rate": (0.01, 0.3), "weight_decay": (0.0, 0.01), "dropout": (0.0, 0.3), "hidden": ("8", "6,5")}


@pytest.fixture(scope="module")
def digits():
    mnist = load("mnist")
    images, labels = mnist.train_inputs[:300], mnist.train_targets[:300]
    return Dataset("digits", images, labels, images[:50], labels[:50], mnist.class_names)


@pytest.fixture(scope="module")
def config():
    return make_run("mlp", epochs=3, batch_size=27, report_every=10)  # three reports of 270 images


@pytest.fixture
def storage(tmp_path):
    return str(tmp_path / "search.db")


@pytest.fixture(scope="module")
def server():
    """A PostgreSQL server on this machine: what psycopg's connect needs."""
    pytest.importorskip("psycopg")
    found = [shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]  # the second: Debian
    binaries = next((Path(path).parent for path in found if path), None)
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed")
    user = {"user": "nobody", "extra_groups": []} if os.name == "posix" and os.getuid() == 0 else {}  # it refuses root
    access = {"host": "127.0.0.1", "port": str(_free_port()), "user": "me", "password": "sesame", "dbname": "postgres"}
    with tempfile.TemporaryDirectory() as folder:
        data, password = Path(folder) / "data", Path(folder) / "password"
        password.write_text(access["password"])
        if user:
            shutil.chown(folder, "nobody")

        def run(name, *arguments):
            command = [binaries / name, "-D", data, *arguments]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60, cwd=folder, **user)

        run("initdb", "-U", "me", "--pwfile", password, "--auth=scram-sha-256", "--locale=C", "-E", "UTF8", "--no-sync")
        settings = f"-p {access['port']} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        run("pg_ctl", "start", "--wait", "--log", f"{folder}/log", "-o", settings)
        yield access
        run("pg_ctl", "stop", "--mode=immediate")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def database(server, monkeypatch):
    """The URL of an empty database on the server."""
    _execute(server, "CREATE DATABASE search")
    connect, connected = Search._connect, []
    monkeypatch.setattr(Search, "_connect", lambda self: connected.append(connect(self)) or connected[-1])
    yield "postgresql+psycopg://{user}:{password}@{host}:{port}/search".format(**server)
    for connection in connected:
        connection.engine.dispose()  # psycopg warns of what a garbage collector finds open
    _execute(server, "DROP DATABASE search WITH (FORCE)")


def _execute(server, *statements):
    import psycopg

    with psycopg.connect(**server, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_trials_lie_in_the_space_and_their_settings_repeat_them(config, digits, storage, sampler, monkeypatch):
    trained, make = [], RunConfig.make_trainer
    monkeypatch.setattr(RunConfig, "make_trainer", lambda run, data: trained.append(run) or make(run, data))
    search, seen = Search(config, digits, SPACE, sampler=sampler, storage=storage, name="a"), []
    search.run(4, seen.append)
    assert seen == search.trials()
    assert [tried.number for tried in seen] == [0, 1, 2, 3]
    for tried in seen:
        assert tried.parameters.keys() == SPACE.keys()
        assert 0.01 <= tried.parameters["learning_rate"] <= 0.3
        assert 0 <= tried.parameters["weight_decay"] <= 0.01
        assert 0 <= tried.parameters["dropout"] <= 0.3
        assert tried.parameters["hidden"] in SPACE["hidden"]
    # What is printed is what was trained with, to the last digit.
    assert trained[1:] == [configure(config, tried.parameters) for tried in seen]
    winner = best(seen)
    assert winner is not None
    assert winner.accuracy == max(tried.accuracy for tried in seen if tried.state == "complete")
    assert make(configure(config, winner.parameters), digits).run()[-1].validation_score == winner.accuracy


def test_a_study_goes_on_where_it_ended_and_repeats_no_trial(config, digits, storage):
    for count in (2, 4):
        search = Search(config, digits, SPACE, sampler="random", storage=storage, name="a")
        search.run(2)
        assert len(search.trials()) == count
    assert len({tried.parameters["learning_rate"] for tried in search.trials()}) == 4
    other = Search(config, digits, SPACE, sampler="random", storage=storage, name="b")
    other.run(4)
    assert [tried.parameters for tried in other.trials()] == [tried.parameters for tried in search.trials()]


def test_the_grid_is_every_combination_once_and_then_done(config, digits, storage):
    space = {"learning_rate": (0.01, 0.1, 0.3), "hidden": ("8", "6,5")}
    search = Search(config, digits, space, sampler="grid", storage=storage, name="a")
    search.run(4)
    search = Search(config, digits, space, sampler="grid", storage=storage, name="a")
    search.run(100)
    search.run(100)
    tried = sorted((t.parameters["learning_rate"], t.parameters["hidden"]) for t in search.trials())
    assert tried == [(rate, hidden) for rate in (0.01, 0.1, 0.3) for hidden in ("6,5", "8")]


def test_sigterm_stops_a_trial_as_ctrl_c_does(config, digits, storage, monkeypatch):
    """The trial in progress is started again."""
    from rich.console import Console

    search = Search(config, digits, {"learning_rate": (0.1, 0.3)}, sampler="grid", storage=storage, name="a")
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", lambda self, **_: signal.raise_signal(signal.SIGTERM))
        assert cli._run_study(Console(quiet=True), search, config, 2, "") == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert (search.running(), search.waiting()) == (0, 2)
    search.run(2)
    rates = {tried.parameters["learning_rate"] for tried in search.trials() if tried.state == "complete"}
    assert rates == {0.1, 0.3}


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_ctrl_c_leaves_a_study_that_starts_the_stopped_trial_again(config, digits, storage, sampler, monkeypatch):
    space = {"learning_rate": (0.01, 0.1, 0.3)}
    search = Search(config, digits, space, sampler=sampler, storage=storage, name="a")
    search.run(1)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", lambda self, **_: _interrupt())
        with pytest.raises(KeyboardInterrupt):
            search.run(1)
    trials = search.trials()
    assert [tried.state for tried in trials[:2]] == ["complete", "fail"]
    stopped, waiting = trials[1].parameters, [t.parameters for t in trials if t.state == "waiting"]
    assert stopped in waiting
    search = Search(config, digits, space, sampler=sampler, storage=storage, name="a")
    search.run(2)
    completed = [tried.parameters for tried in search.trials() if tried.state == "complete"]
    assert len(completed) == len(search.trials()) - 1
    assert stopped in completed
    assert len({parameters["learning_rate"] for parameters in completed}) == 3


def _interrupt():
    raise KeyboardInterrupt


def test_hopeless_and_diverging_trials_are_given_up(config, digits, storage):
    space = {"learning_rate": (0.2, 0.200001)}
    Search(config, digits, space, sampler="random", storage=storage, name="a").run(5)  # nothing to compare with yet
    search = Search(config, digits, space, sampler="random", storage=storage, name="a")
    iterations = []
    for rate in (1e-6, 1e30):
        # The database knows one distribution for each trial, so that others can be tried by hand.
        search._space = {"learning_rate": (rate, rate)}
        search.run(1)
        iterations.append(len(search._study.trials[-1].intermediate_values))
    assert [tried.state for tried in search.trials()] == ["complete"] * 5 + ["pruned", "diverged"]
    assert iterations == [1, 0]
    assert search.trials()[-2].accuracy is not None
    assert search.trials()[-1].accuracy is None


@pytest.mark.parametrize("place", ["storage", "database"])
@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_processes_share_a_study(config, digits, request, place, sampler):
    """Each knows what the other tries at the same time, and a third one learns from both."""
    place = request.getfixturevalue(place)
    _try_in_two_processes(config, digits, sampler, place)
    search = Search(config, digits, RATES, sampler=sampler, storage=place, name="shared")
    assert [tried.number for tried in search.trials()] == list(range(6))
    rates = {tried.parameters["learning_rate"] for tried in search.trials()}
    assert len(rates) == 6
    if sampler == "grid":
        assert rates == set(RATES["learning_rate"])
        assert search.waiting() == 0
        search._begun = list  # a grid of one more combination
    search._space = {"learning_rate": (1e-6,)}
    search.run(1)
    assert [tried.state for tried in search.trials()[5:]] == ["complete", "pruned"]


def _try_in_two_processes(*arguments):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [context.Process(target=_work, args=(*arguments, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=100)
        assert worker.exitcode == 0


def _work(config, digits, sampler, place, barrier):
    """Half of the trials: none begins to train before the other process has one, too."""
    make = RunConfig.make_trainer
    RunConfig.make_trainer = lambda *arguments: (barrier.wait(timeout=60), make(*arguments))[1]
    Search(config, digits, RATES, sampler=sampler, storage=place, name="shared").run(3)


def test_stopped_trials_are_started_again_by_one_process_each(config, digits, storage):
    search = Search(config, digits, RATES, sampler="random", storage=storage, name="shared")
    for rate in RATES["learning_rate"]:
        search._study.enqueue_trial({"learning_rate": rate})
    assert search.waiting() == 6
    _try_in_two_processes(config, digits, "random", storage)
    assert search.waiting() == 0
    assert [tried.parameters["learning_rate"] for tried in search.trials()] == list(RATES["learning_rate"])


def test_a_database_that_another_process_is_making_is_opened_later(config, digits, storage, monkeypatch):
    opened, create_study = [], optuna.create_study

    def busy_at_first(**options):
        opened.append(options)
        if len(opened) == 1:
            raise RuntimeError("UNIQUE constraint failed: alembic_version.version_num")
        return create_study(**options)

    monkeypatch.setattr(optuna, "create_study", busy_at_first)
    Search(config, digits, SPACE, sampler="random", storage=storage, name="a").run(1)
    assert len(opened) == 2


def test_a_study_keeps_its_settings(config, digits, storage):
    Search(config, digits, SPACE, sampler="tpe", storage=storage, name="a")
    with refused("Study 'a': expected batch_size 27", "got 16"):
        other = dataclasses.replace(config, train=dataclasses.replace(config.train, batch_size=16))
        Search(other, digits, SPACE, sampler="tpe", storage=storage, name="a")
    with refused("Study 'a': expected values {", "Use the same settings"):
        Search(config, digits, {"learning_rate": (0.1,)}, sampler="tpe", storage=storage, name="a")
    Search(dataclasses.replace(config, data_dir="/elsewhere"), digits, SPACE, sampler="grid", storage=storage, name="a")


@pytest.mark.parametrize("storage", ["no/such/folder/a.db", "nosuch://nobody@localhost:1/x", "://"])
def test_a_database_that_cannot_be_used(config, digits, storage):
    with refused(f"Storage {storage}: cannot be used ("):
        Search(config, digits, SPACE, sampler="tpe", storage=storage, name="a")


@pytest.mark.parametrize(
    ("storage", "shown"),
    [
        ("nosuch://me:secret@localhost:1/x", "nosuch://me:***@localhost:1/x"),
        ("nosuch://me:secret code@localhost:1/x", "nosuch://me:***@localhost:1/x"),
        ("nosuch://localhost:1/x?user=me&password=secret&a=b", "nosuch://localhost:1/x?user=me&password=***&a=b"),
    ],
)
def test_an_error_shows_no_password(config, digits, storage, shown):
    with pytest.raises(InputError) as caught:
        Search(config, digits, SPACE, sampler="tpe", storage=storage, name="a")
    assert str(caught.value).startswith(f"Storage {shown}: cannot be used (")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sesame": "open"}, 'password authentication failed for user "me"'),
        (
            {"me:sesame@": "", "/search": "/search?user=me&password=open"},
            'password authentication failed for user "me"',
        ),
        ({"127.0.0.1": "server.invalid"}, "server.invalid"),
        ({"/search": "/elsewhere"}, 'database "elsewhere" does not exist'),
    ],
)
def test_a_server_that_lets_nobody_in_is_one_line_without_the_password(database, tmp_path, capsys, change, reason):
    for old, new in change.items():
        assert old in database
        database = database.replace(old, new)
    assert main(["--storage", database, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: Storage postgresql+psycopg://")
    assert error.endswith("). Choose another one.\n")
    assert error.count("\n") == 1
    assert reason in error
    assert "sesame" not in error
    assert "open" not in error


def test_a_connection_that_was_closed_meanwhile_is_made_again(config, digits, server, database):
    search = Search(config, digits, SPACE, sampler="random", storage=database, name="a")
    search.run(2, lambda tried: _execute(server, CLOSE))
    assert [tried.state for tried in search.trials()] == ["complete"] * 2


def test_a_database_that_is_lost_is_one_line(config, digits, server, database):
    search = Search(config, digits, SPACE, sampler="random", storage=database, name="a")
    with refused("Storage postgresql+psycopg://me:***@", "search: cannot be used (", "not currently accepting"):
        search.run(2, lambda tried: _execute(server, "ALTER DATABASE search ALLOW_CONNECTIONS false", CLOSE))


def test_a_database_without_its_driver_says_what_to_install(config, digits, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with refused("expected the database's driver, got: ", "psycopg", 'pip install "psycopg[binary]"'):
        Search(config, digits, SPACE, sampler="tpe", storage="postgresql+psycopg://me@localhost:1/x", name="a")


def test_a_trial_that_finds_the_grid_at_its_end_is_none(config, digits, storage, monkeypatch):
    space, seen = {"learning_rate": (0.1, 0.2)}, []
    search = Search(config, digits, space, sampler="grid", storage=storage, name="a")
    search.run(3)
    monkeypatch.setattr(search, "waiting", lambda: 1)  # as if another process had just begun the last one
    search.run(1, seen.append)
    assert seen == []
    assert [tried.number for tried in search.trials()] == [0, 1]


def test_best_is_the_first_of_the_completed_ones():
    trials = [
        Trial(0, {}, 0.7, "complete", 1.0),
        Trial(1, {}, 0.9, "pruned", 1.0),
        Trial(2, {}, 0.8, "complete", 1.0),
        Trial(3, {}, 0.8, "complete", 1.0),
        Trial(4, {}, None, "running", 0.0),
    ]
    assert best(trials) == trials[2]
    assert best(trials[3:][1:]) is None


def test_topologies_as_text():
    assert parse_hidden("300,100") == [300, 100]
    with refused("Topology", "units of each hidden layer such as 100,100", "got '30x2'"):
        parse_hidden("30x2")
