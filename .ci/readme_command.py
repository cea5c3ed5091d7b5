"""Print the README command marked ``<!-- command: NAME -->``.

Use: ``python3 .ci/readme_command.py NAME < README.md``.
"""

import re
import sys


def marked_command(readme: str, name: str) -> str:
    """Return the one line of the bash block directly under the marker; exit with a message otherwise."""
    marker = f"<!-- command: {name} -->"
    blocks = re.findall(rf"^{re.escape(marker)}\n```bash\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).splitlines()
    if len(blocks) != 1 or len(lines) != 1:
        sys.exit(
            f"README.md: expected one bash block of one line directly under {marker}, "
            f"got {len(blocks)} with {len(lines)} lines."
        )
    return lines[0]


if __name__ == "__main__":
    print(marked_command(sys.stdin.read(), sys.argv[1]))
