"""The operators' tool `contraforce-sentinel`: an extra, never deployed. `main` is its entry point."""

import sys
from importlib.util import find_spec
from typing import Final

from operators_tool.terminal import leave_at_ctrl_c, replace_what_cannot_be_shown

_NEEDED: Final = ("typer", "rich")


def main() -> int:
    """Run one command of the command line; ends with one of the exit codes of `exits`."""
    leave_at_ctrl_c()
    replace_what_cannot_be_shown()
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        sys.stderr.write(
            f"contraforce-sentinel: {' and '.join(missing)} missing. The command-line tool is an extra:\n"
            "    pip install 'contraforce-sentinel[cli]'\n"
        )
        return 2
    from operators_tool.commands import app  # noqa: PLC0415 - only where the extra is there

    app(prog_name="contraforce-sentinel")
    return 0
