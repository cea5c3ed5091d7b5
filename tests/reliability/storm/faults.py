"""Faults that xpnet once had, or might have, as lines of Python that put them back into a process."""

FAULTS = {
    "writes into another's folder": """
from xpnet import files
files.check_held = lambda path: None
for module in ("runs.checkpoint", "runs.records"):
    setattr(__import__(f"xpnet.{module}", fromlist=["x"]), "check_held", files.check_held)""",
    "hangs after a fork": """
import os
os.register_at_fork = lambda **functions: None""",
    "does not look at its history": """
from xpnet.runs import records
records.HistoryFile._repair = lambda self, records: None""",
    "takes any history": """
from xpnet.cli import train
from xpnet.training import Record
def cut_back(path, iteration, every):
    rows = path.read_text().splitlines()[1:] if iteration else []
    return [Record.parse(row.split(",")) for row in rows if int(row.split(",")[0]) <= iteration]
train.cut_back = cut_back""",
    "takes any best record": """
from xpnet.training import snapshot
snapshot._check_best = lambda *arguments: None""",
    "parses any header": """
from xpnet import serialization
serialization._LONGEST_HEADER = 1 << 40""",
    "builds any dictionary": """
from xpnet.datasets import cifar10
cifar10._check_keys = lambda keys: None""",
    "decodes without a bound": """
from xpnet.datasets import image_files
image_files._MEMORY_BYTES = 1 << 40""",
    "has no lock": """
import contextlib
from xpnet.cli import train
train.only_user = lambda path: contextlib.nullcontext()""",
    "forgets the plateau": """
from xpnet.training import snapshot
from xpnet.schedules import PlateauState
read = snapshot.Progress.from_json.__func__
snapshot.Progress.from_json = classmethod(lambda cls, values: read(cls, values)._replace(plateau=PlateauState()))""",
    "ends full disks in tracebacks": """
import contextlib
from xpnet import files, cli
from xpnet.cli import common
files.writing = lambda what: contextlib.nullcontext()
common.OSError = ZeroDivisionError""",
}
