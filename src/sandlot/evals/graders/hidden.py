"""The place where commands grade: fresh, made of the target's changes, with what steers tests taken from elsewhere.

What a target left is hostile. A command that grades runs in a workspace in which none of its processes, homes and
temporary files ever were. Of its changes, those to files that are known to steer test tools, and those where hidden
files go, are not brought along; the hidden files are written last, over whatever is there.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandlot.evals.cases import GraderSpec, Hook, HookName, Place, TestCase
from sandlot.evals.fields import Fields
from sandlot.evals.graders.subject import GraderFailed, Subject
from sandlot.evals.hook_files import left_out_of, unpacked

if TYPE_CHECKING:
    from sandlot.sdk import Workspace

__all__ = ["STEERING", "HiddenFiles", "grading_place", "shown"]

STEERING = (
    # pytest, and what Python imports without being asked
    "conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg",
    "pyproject.toml", "sitecustomize.py", "usercustomize.py", "*.pth", "*.egg-info", "*.dist-info", "__pycache__",
    # modules that would shadow the test tools themselves when their folder comes first on sys.path
    "pytest.py", "pytest", "_pytest", "pluggy", "pluggy.py", "iniconfig", "iniconfig.py",
    "noxfile.py", "*.pyc",
    # runners of other languages, and what calls them
    "package.json", ".npmrc", "jest.config.*", "vitest.config.*", ".mocharc*", "karma.conf.*", "babel.config.*",
    ".babelrc*", "Makefile", "makefile", "GNUmakefile", "justfile", "Taskfile.yml", ".cargo",
)  # fmt: skip
"""Names that steer tests, anywhere in a path. ``protect`` of a grader replaces the list."""
TEST_FOLDERS = frozenset(("__tests__", "spec", "specs", "test", "testing", "tests"))
"""Where a hidden file goes into such a folder, nothing that the target did in there is brought along."""
MAX_FILES = 10_000
MAX_BYTES = 256 << 20
PROJECT = "/workspace"


@dataclass(frozen=True, slots=True)
class HiddenFiles:
    """Files of the suite that come in after the target has ended: (path inside, host path), in the order written.

    A path inside is relative to /workspace, or absolute below /tmp."""

    files: tuple[tuple[str, str], ...]
    protect: tuple[str, ...]

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields, protect: Sequence[str]) -> HiddenFiles:
        """``files`` (a list, or ``{path: path inside}``) relative to the suite; ``protect``, a list of globs."""
        found = fields.any("files", ())
        pairs = [(each, each) for each in fields.texts("files")] if not isinstance(found, dict) else [
            (inside, outside) for outside, inside in fields.words("files").items()
        ]  # fmt: skip
        checked = []
        for inside, outside in pairs:
            place = posixpath.normpath(inside.removeprefix(PROJECT + "/"))
            below = place not in (".", "..") and not place.startswith(("/", "../"))
            if not below and not place.startswith("/tmp/"):  # noqa: S108  inside the workspace
                raise fields.wrong(f"'{inside}' is not below the workspace", "write 'files: {../x.py: tests/x.py}'")
            host = os.path.normpath(os.path.join(spec.folder, outside))
            if not os.path.exists(host):
                raise fields.wrong(f"the hidden file {host} does not exist")
            checked.append((place, host))
        return cls(tuple(checked), fields.texts("protect", protect))

    @property
    def sources(self) -> tuple[str, ...]:
        """Where they are on the host."""
        return tuple(host for _, host in self.files)

    def leaves_out(self, path: str) -> bool:
        """Whether the target's change of this path (relative to /workspace) is not brought along."""
        if any(fnmatch.fnmatchcase(part, glob) for part in path.split("/") for glob in self.protect if "/" not in glob):
            return True
        if any(fnmatch.fnmatchcase(path, glob) for glob in self.protect if "/" in glob):
            return True
        folders = path.split("/")[:-1]
        for at, name in enumerate(folders):
            below = "/".join(folders[: at + 1]) + "/"
            if name in TEST_FOLDERS and any(
                inside.startswith(below) or f"{inside}/" == below for inside, _ in self.files
            ):
                return True
        # Where a hidden file goes, or a file or link in the place of a folder on the way there.
        return any(
            inside == path or inside.startswith(path + "/") or path.startswith(inside + "/") for inside, _ in self.files
        )

    def left_out(self, subject: Subject) -> tuple[str, ...]:
        """The paths that the target changed and that are not brought along."""
        return tuple(each.path for each in subject.changes.files if self.leaves_out(each.path))


@contextlib.contextmanager
def grading_place(subject: Subject, hidden: HiddenFiles, *, untouched: bool = False) -> Iterator[Workspace]:
    """A workspace to grade in; gone at the end. Raises GraderFailed, and what making a workspace raises.

    ``untouched``: without anything that the target did.
    """
    with subject.grading((lambda _: True) if untouched else hidden.leaves_out) as workspace:
        count, total = 0, 0
        for inside, host in hidden.files:
            for path, source in _regular_files(inside, host):
                count, total = count + 1, total + source.stat().st_size
                if count > MAX_FILES or total > MAX_BYTES:
                    raise GraderFailed(f"the hidden files are more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB")
                executable = source.stat().st_mode & stat.S_IXUSR
                with open(source, "rb") as content:
                    workspace.files.write(path, content, mode="0755" if executable else "0644")
        yield workspace


def shown(workspace: Workspace, folder: str, case: TestCase) -> AbstractContextManager[str]:
    """The path inside of a copy of a suite's folder, as hooks see it: without the template and the repos."""
    hook = Hook(HookName.AFTER_EACH, (), 0.0, folder, folder, Place(folder))
    return unpacked(workspace, hook, left_out_of(case.workspace))


def _regular_files(inside: str, host: str) -> Iterator[tuple[str, Path]]:
    source = Path(host)
    if source.is_file():
        yield inside, source
        return
    if not source.is_dir():
        raise GraderFailed(f"the hidden file {host} is gone")
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(each for each in folders if each not in ("__pycache__", ".git"))
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file():
                yield posixpath.join(inside, path.relative_to(source).as_posix()), path
