"""Trials of small files that once took gigabytes or hours, read by a process of their own."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

from tests.datasets.test_image_files import png
from tests.hostile import READERS
from tests.hostile import Trial as ReaderTrial
from tests.reliability.storm.trials import Trial

READ = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
from xpnet.errors import InputError
try: {statement}
except InputError as error: print(error, file=sys.stderr)
# Not ru_maxrss, which begins with what the parent has.
print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"""


def check(trial: Trial, statement: str, argument: Path, *, memory: int = 400 << 20, seconds: int) -> str:
    """What a process says that runs the statement, within so many bytes and seconds of processor time."""
    program = READ.format(seconds=seconds, statement=statement)
    command = [sys.executable, "-c", f"{trial.fault}\n{program}", str(argument)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, f"exit code {result.returncode} {result.stderr}"
    taken = int(result.stdout) << 10
    assert taken < memory, f"{taken >> 20} MB"
    return result.stderr


def refused(message: str, path: Path) -> None:
    """Check that a message is one line that names the file."""
    assert message.count("\n") == 1, message
    assert str(path) in message


def headers(trial: Trial) -> None:
    """A header of weights with hundreds of thousands of empty tensors."""
    path = trial.folder / "weights.safetensors"
    count = trial.draw.randint(300_000, 600_000)
    header = b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(count))
    path.write_bytes(struct.pack("<Q", len(header) + 2) + b"{" + header + b"}")
    refused(check(trial, "from xpnet.network import Network; Network.load(sys.argv[1])", path, seconds=60), path)


def pickles(trial: Trial) -> None:
    """A CIFAR-10 batch with a dictionary of integers that all have the same hash."""
    path = ReaderTrial(READERS["cifar10_batch"], trial.folder).path
    keys = range(trial.draw.randint(150_000, 200_000))
    items = b"".join(b"\x8a\x0a" + (key * sys.hash_info.modulus).to_bytes(10, "little") + b"N" for key in keys)
    path.write_bytes(b"\x80\x02}(" + items + b"u.")
    refused(check(trial, "from xpnet.datasets import cifar10; cifar10.load(sys.argv[1])", path.parent, seconds=6), path)


def images(trial: Trial) -> None:
    """Two PNG files of 127 KB with images one pixel wide, of which Pillow takes 1.2 GB each, for two threads."""
    pixels = png(1 << 26, 1, zlib.compress(bytes(2 << 26)))
    for name in ("first.png", "second.png"):
        (trial.folder / name).write_bytes(pixels)
    statement = (
        "from pathlib import Path; from xpnet.datasets import image_files; image_files._THREADS = 2; "
        "wait = image_files.start_decoding([*map(str, Path(sys.argv[1]).iterdir())], (8, 8, 1)); assert not wait()[1]"
    )
    assert check(trial, statement, trial.folder, memory=1600 << 20, seconds=60) == ""
