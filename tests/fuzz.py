"""Coverage-guided search for a file that a reader neither reads nor refuses in one line.

    python -m tests.fuzz READER [OPTION ...]

Options are libFuzzer's, such as -max_total_time=60. A file that is found is written to the current folder.
"""

import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["xpnet", "pickletools", "PIL", "zipfile", "json"]):
    from tests.hostile import READERS, Trial


def main() -> None:
    """Fuzz one reader."""
    name, *options = sys.argv[1:] or [""]
    if name not in READERS:
        sys.exit(f"Expected one of {', '.join(READERS)}, got {name!r}.")
    logging.disable()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as corpus:
        trial = Trial(READERS[name], Path(folder))
        for number, content in enumerate(trial.reader.valid()):
            Path(corpus, str(number)).write_bytes(content)
        limits = ["-rss_limit_mb=1500", "-timeout=20", "-max_len=40000"]
        atheris.Setup([sys.argv[0], *limits, *options, corpus], trial.read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
