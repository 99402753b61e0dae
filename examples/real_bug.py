"""The main job on a real bug: a released package, reproduced, patched, proved, reviewed, reset. Needs pip and network.

more-itertools 10.8.0 promises that ``numeric_range`` works like ``range``, but a slice with a negative step is empty:
``list(numeric_range(0, 5)[::-1])`` gives ``[]``. Version 11.0.0 fixed it. The source archive is downloaded on the host,
where pip reads its metadata (its build backend executes nothing of it); it runs in the workspace, without network.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from sandlot import Sandlot, Workspace

NAME, VERSION = "more-itertools", "10.8.0"
ROOT = "more_itertools-10.8.0"
"""The folder that the archive holds."""

REPRODUCE = """
from more_itertools import numeric_range
wrong = 0
for slice_ in (slice(None, None, -1), slice(4, 1, -1), slice(None, 2, -2)):
    got, expected = list(numeric_range(0, 5)[slice_]), list(range(0, 5)[slice_])
    print(slice_, "gives", got, "and should give", expected)
    wrong += got != expected
raise SystemExit(wrong)
"""

FIX = """\
--- a/more_itertools-10.8.0/more_itertools/more.py
+++ b/more_itertools-10.8.0/more_itertools/more.py
@@ -2339,23 +2339,12 @@
         if isinstance(key, int):
             return self._get_by_index(key)
         elif isinstance(key, slice):
-            step = self._step if key.step is None else key.step * self._step
-
-            if key.start is None or key.start <= -self._len:
-                start = self._start
-            elif key.start >= self._len:
-                start = self._stop
-            else:  # -self._len < key.start < self._len
-                start = self._get_by_index(key.start)
-
-            if key.stop is None or key.stop >= self._len:
-                stop = self._stop
-            elif key.stop <= -self._len:
-                stop = self._start
-            else:  # -self._len < key.stop < self._len
-                stop = self._get_by_index(key.stop)
-
-            return numeric_range(start, stop, step)
+            first, last, stride = key.indices(self._len)
+            return numeric_range(
+                self._start + first * self._step,
+                self._start + last * self._step,
+                stride * self._step,
+            )
         else:
             raise TypeError(
                 'numeric range indices must be '
"""


class Failed(Exception):
    """A step did not go as it must."""


def main() -> int:
    """Show it; the exit status says whether every step went as it must."""
    with tempfile.TemporaryDirectory(prefix="sandlot-real-bug-") as folder:
        archive = download(Path(folder))
        before = hashlib.sha256(archive.read_bytes()).hexdigest()
        try:
            with Sandlot() as sandlot, sandlot.create(archive) as workspace:
                show(workspace, archive)
            require(hashlib.sha256(archive.read_bytes()).hexdigest() == before, "the archive is untouched")
            require([path.name for path in Path(folder).iterdir()] == [archive.name], "nothing was put beside it")
        except Failed as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print("done: reproduced, fixed, proved, reviewed, reset, deleted")
    return 0


def download(folder: Path) -> Path:
    """The source archive, by pip's own client and the user's own settings for it."""
    print(f"== download the source of {NAME} {VERSION}")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", ":all:", "--dest", str(folder), f"{NAME}=={VERSION}"]
    done = subprocess.run(command, check=False)
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode != 0 or len(archives) != 1:
        sys.exit("error: pip could not download it\nhint: sandlot demo shows the same without network")
    return archives[0]


def show(workspace: Workspace, archive: Path) -> None:
    """The job itself."""
    info = workspace.info
    print(f"== workspace {info.id} from {archive.name}: {info.origin.files} files, isolation {info.isolation}")

    print("\n== reproduce the failure")
    require(run(workspace, "python3", "-c", REPRODUCE) == 2, "two of the three slices are wrong")

    print("\n== look for the cause")
    for match in workspace.files.search("class numeric_range|key.step", glob="*.py").matches:
        print(f"{match.path}:{match.line}: {match.text.strip()}")

    print("\n== apply the fix as a patch, and run again")
    patched = workspace.patch(FIX)
    print(f"patched {', '.join(each.path for each in patched.files)}")
    require(run(workspace, "python3", "-c", REPRODUCE) == 0, "all three slices are right")
    own_tests = ("python3", "-m", "unittest", "-q", "tests.test_more.NumericRangeTests")
    require(run(workspace, *own_tests) == 0, "the package's own tests for it pass")

    print("\n== summary")
    print(workspace.summary().text)
    print("== diff")
    diff = workspace.diff()
    print(diff.patch)
    changed = [change.path for change in diff.files]
    require(changed == [f"{ROOT}/more_itertools/more.py"], "one file has changed, and it is in the diff")

    print("== reset: the failure is back")
    workspace.reset()
    require(run(workspace, "python3", "-c", REPRODUCE) == 2, "two of the three slices are wrong again")
    require(not workspace.diff(stat=True).files, "nothing else is left of it")


def run(workspace: Workspace, *command: str) -> int:
    """Run a command inside, show what it prints, and return its exit status."""
    result = workspace.exec(command, cwd=ROOT, env={"PYTHONDONTWRITEBYTECODE": "1"}, timeout=120)
    print((result.stdout.text + result.stderr.text).strip() + f"\n[exit {result.exit_status}]")
    return result.exit_status


def require(true: bool, what: str) -> None:
    """Go on only when it is so."""
    if not true:
        raise Failed(f"this is not so: {what}")
    print(f"-> {what}")


if __name__ == "__main__":
    sys.exit(main())
