"""Trials of files that were damaged while no run was going on: taken for what they are, or refused in one line."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.hostile import READERS
from tests.hostile import Trial as ReaderTrial
from tests.reliability.storm.blows import digests
from tests.reliability.storm.trials import Trial
from tests.test_hostile_files import damaged
from xpnet.errors import InputError
from xpnet.runs import checkpoint
from xpnet.serialization import read_tensors, write_tensors


def checkpoints(trial: Trial) -> list[Path]:
    """The run's checkpoints, the oldest first."""
    return sorted(trial.run.glob("checkpoints/iteration-*.safetensors"))


def edited(trial: Trial, content: bytes) -> bytes:
    """The content with one to three random edits."""
    draw, kinds = trial.draw, ["flip", "insert", "overwrite", "delete", "truncate"]
    values = [b"\0", b"\xff" * 8, b"-1", b"9" * 400, draw.randbytes(draw.randint(1, 8))]
    edits = [(draw.choice(kinds), draw.random(), draw.choice(values)) for _ in range(draw.randint(1, 3))]
    return damaged(content, edits)


def refused_as_it_is(trial: Trial) -> None:
    """Check that a run does not go on, and that nothing of it is touched."""
    before = digests(trial.run)
    ended = trial.train()
    assert ended.code == 2, f"expected the run to be refused, got {ended}"
    before.pop(".owner.json", None)
    after = digests(trial.run)
    assert before == {name: after.get(name) for name in before}, "the refused run was changed"


def newest_checkpoint(trial: Trial) -> None:
    """The one before it is used."""
    path = checkpoints(trial)[-1]
    path.write_bytes(edited(trial, path.read_bytes()))


def all_checkpoints(trial: Trial) -> None:
    """Then there is nothing to go on from, which is not a reason to begin again."""
    kept = {path: path.read_bytes() for path in checkpoints(trial)}
    for path, content in kept.items():
        path.write_bytes(edited(trial, content[:-1]))
    if all(map(_is_refused, kept)):
        refused_as_it_is(trial)
    for path, content in kept.items():
        path.write_bytes(content)


def _is_refused(path: Path) -> bool:
    try:
        checkpoint.load(path)
    except InputError:
        return True
    return False


def history(trial: Trial) -> None:
    """Rows that are not the run's."""
    path = trial.run / "history.csv"
    content = path.read_text()
    head, *rows = content.splitlines()
    count = checkpoint.load(checkpoints(trial)[-1]).snapshot.progress.reported // 10
    if count < 2:
        return
    row = trial.draw.randrange(count - 1)
    changes: list[Callable[[], None]] = [
        lambda: rows.__setitem__(slice(row, row + 2), rows[row : row + 2][::-1]),
        lambda: rows.pop(row),
        lambda: rows.insert(row, rows[row]),
        lambda: rows.__setitem__(row, f"-{rows[row]}"),
        lambda: rows.__setitem__(row, f"9{rows[row]}"),
        lambda: rows.clear(),
    ]
    trial.draw.choice(changes)()
    path.write_text("".join(f"{line}\n" for line in [head, *rows]))
    refused_as_it_is(trial)
    path.write_text(content)


def best_record(trial: Trial) -> None:
    """A checkpoint, with a digest that is right, that does not know the best record."""
    kept = {path: path.read_bytes() for path in checkpoints(trial)}
    if checkpoint.load(max(kept)).snapshot.progress.reported:
        tensors, header = read_tensors(max(kept))
        header["progress"]["best"] = None
        write_tensors(max(kept), tensors, {name: value for name, value in header.items() if name != "sha256"})
        refused_as_it_is(trial)
        max(kept).write_bytes(kept[max(kept)])


def leftovers(trial: Trial) -> None:
    """What a crash may leave: half a line, half a file, and files of nobody's."""
    with (trial.run / "history.csv").open("a") as file:
        file.write(trial.draw.choice(["300,1,", "\0\0\0", "300,1,2,3,4,5,6,7,8\n400,1,2"]))
    with (trial.run / "metrics.jsonl").open("a") as file:
        file.write('{"itera')
    (trial.run / "checkpoints" / ".iteration-000000008.safetensors.1.part").write_bytes(b"torn")


def settings(trial: Trial) -> None:
    """Settings that are not JSON any more, or others; the run goes on or is refused."""
    path = trial.run / "config.json"
    content = path.read_bytes()
    path.write_bytes(edited(trial, content))
    kept = trial.run.with_name("kept")
    subprocess.run(["cp", "-r", trial.run, kept], check=True)
    ended = trial.train(kept)
    assert ended.code in (0, 1, 2), ended
    path.write_bytes(content)


DAMAGE = [newest_checkpoint, all_checkpoints, history, best_record, leftovers, settings]


def files(trial: Trial) -> None:
    """A run that was killed in mid-run, whose files are damaged, and, where it was refused, put back."""
    trial.struck("killed", ["record"])
    if len(checkpoints(trial)) > 1:
        damage = trial.draw.choice(DAMAGE)
        trial.story.append(damage.__name__)
        damage(trial)
    trial.finish()


def readers(trial: Trial) -> None:
    """Files of every kind, damaged fifty times each: read, or refused in one line that names them."""
    for name in trial.draw.sample([*READERS], 4):
        trial.story.append(name)
        folder = trial.folder / name
        folder.mkdir()
        reader = ReaderTrial(READERS[name], folder)
        valid = reader.reader.valid()
        for _ in range(50):
            reader.read(edited(trial, trial.draw.choice(valid)))
