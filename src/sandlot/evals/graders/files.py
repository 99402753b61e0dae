"""Graders of what happened to files."""

from __future__ import annotations

import fnmatch
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandlot.errors import FileRefused, PathNotFound
from sandlot.evals.cases import GraderSpec
from sandlot.evals.fields import Fields
from sandlot.evals.graders.hidden import HiddenFiles, grading_place
from sandlot.evals.graders.subject import Finding, Grader, Subject

if TYPE_CHECKING:
    from sandlot.sdk import Workspace

__all__ = ["FileChanges", "FileExists"]

READ_BYTES = 4 << 20
_NOTHING_HIDDEN = HiddenFiles((), ())


@dataclass(frozen=True, slots=True)
class FileExists(Grader):
    """``file-exists``: files or folders after the target's changes; ``contains``: texts in each file."""

    paths: tuple[str, ...]
    contains: tuple[str, ...]

    pass_score = 1.0

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> FileExists:
        name = next((each for each in ("path", "paths", "value", "files") if fields.has(each)), "path")
        paths = fields.texts(name, None)
        for path in paths:
            if posixpath.normpath(path).startswith(("/", "..")):
                raise fields.wrong(f"'{path}' is not below the workspace")
        return cls(paths, fields.texts("contains"))

    def find(self, subject: Subject) -> Finding:
        hits: list[str] = []
        misses: list[str] = []
        with grading_place(subject, _NOTHING_HIDDEN) as workspace:
            for path in self.paths:
                (hits if self._there(workspace, path) else misses).append(path)
        return Finding(len(hits) / len(self.paths), tuple(hits), tuple(misses))

    def _there(self, workspace: Workspace, path: str) -> bool:
        if not self.contains:
            return workspace.exec(["test", "-e", posixpath.join("/workspace", path)]).ok
        try:
            text = workspace.files.read(path, offset=0, max_bytes=READ_BYTES).content
        except (PathNotFound, FileRefused):
            return False
        return all(each in text for each in self.contains)


@dataclass(frozen=True, slots=True)
class FileChanges(Grader):
    """``file-changes``: expectations on the diff. Needs no workspace: the diff was taken before anything was graded."""

    includes: tuple[str, ...]
    """Globs; each must fit a changed path."""
    excludes: tuple[str, ...]
    """Globs that must fit no changed path."""
    only: tuple[str, ...]
    """Every changed path must fit one of these."""
    max_files: int | None
    max_lines: int | None
    patch_contains: tuple[str, ...]
    """Texts among the added lines."""

    pass_score = 1.0

    @classmethod
    def read(cls, spec: GraderSpec, fields: Fields) -> FileChanges:
        found = cls(
            fields.texts("includes"), fields.texts("excludes"), fields.texts("only"), fields.count("max_files"),
            fields.count("max_lines"), fields.texts("patch_contains"),
        )  # fmt: skip
        if found == cls((), (), (), None, None, ()):
            raise fields.wrong("nothing is expected", f"write one of: {', '.join(cls.__dataclass_fields__)}")
        return found

    def find(self, subject: Subject) -> Finding:
        hits: list[str] = []
        misses: list[str] = []

        def expect(fits: bool, text: str) -> None:
            (hits if fits else misses).append(text)

        files = subject.changes.files
        paths = [each.path for each in files] + [each.old_path for each in files if each.old_path]
        for glob in self.includes:
            expect(any(_fits(path, glob) for path in paths), f"changed: {glob}")
        for glob in self.excludes:
            touched = [path for path in paths if _fits(path, glob)]
            expect(not touched, f"unchanged: {glob}" + (f" ({touched[0]})" if touched else ""))
        if self.only:
            others = [path for path in paths if not any(_fits(path, glob) for glob in self.only)]
            expect(not others, f"only: {', '.join(self.only)}" + (f" ({others[0]})" if others else ""))
        if self.max_files is not None:
            expect(len(files) <= self.max_files, f"{len(files)} files, at most {self.max_files}")
        if self.max_lines is not None:
            lines = sum((each.additions or 0) + (each.deletions or 0) for each in files)
            expect(lines <= self.max_lines, f"{lines} lines, at most {self.max_lines}")
        text = _added_lines(subject.changes.patch) if self.patch_contains else ""
        for each in self.patch_contains:
            expect(each in text, f"adds: {each}")
        return Finding(len(hits) / (len(hits) + len(misses)), tuple(hits), tuple(misses))


def _fits(path: str, glob: str) -> bool:
    """A path, a folder with all that is in it, or a glob in which ``*`` crosses slashes."""
    folder = glob.rstrip("/")
    return path == folder or path.startswith(folder + "/") or fnmatch.fnmatchcase(path, glob)


def _added_lines(patch: bytes) -> str:
    """Lines end at a newline alone: a target writes whatever else looks like one. ``+++`` is a header before a hunk,
    and in one it is an added line that begins with two signs."""
    added = []
    in_hunk = False
    for line in patch.decode("utf-8", "replace").split("\n"):
        if line.startswith("diff --git "):
            in_hunk = False
        elif line.startswith("@@"):
            in_hunk = True
        elif in_hunk and line.startswith("+"):
            added.append(line[1:])
    return "\n".join(added)
