"""A first workspace: make one from a folder, run things in it, see what changed, take a result out."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from sandlot import Sandlot


def main() -> int:
    """Run it; prints what happens."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        project.mkdir()
        project.joinpath("greet.sh").write_text('echo "hello, $1"\n')

        # The workspace is deleted at the end of the with statement.
        with Sandlot() as sandlot, sandlot.create(project, labels={"purpose": "example"}) as workspace:
            result = workspace.exec(["sh", "greet.sh", "world"])
            print(f"exit {result.exit_status}, printed {result.stdout.text!r}, isolation {result.command.isolation}")

            # A failing command is a result, not an exception. A string goes to a shell.
            print(f"exit {workspace.exec('exit 3').exit_status}")

            workspace.snapshots.create("before")
            workspace.files.write("greet.sh", 'echo "good morning, $1"\n')
            print(workspace.diff().patch)

            workspace.exec("rm -rf /workspace/*")  # the project on the host does not notice
            workspace.reset("before")
            print([entry.path for entry in workspace.files.list().entries])

            workspace.exec("sh greet.sh everybody > greeting.txt")
            workspace.export("greeting.txt", Path(folder, "greeting.txt"))

        print(Path(folder, "greeting.txt").read_text(), end="")
        print(project.joinpath("greet.sh").read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
