"""What the user asked to start from, understood before anything is read."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from sandlot.errors import PathNotFound, UsageError
from sandlot.model.base import OriginKind

__all__ = ["ARCHIVE_SUFFIXES", "Source", "classify", "without_credentials"]

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".zip")

_BASE = "base:"
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SCP = re.compile(r"(?:[A-Za-z0-9_.-]+@)?[A-Za-z0-9_.-]+:(?!//)[^\s]+")
"""``user@host:path``, git's short way to write an ssh URL."""
_TRANSPORTS = ("https", "http", "ssh", "git", "file")


@dataclass(frozen=True, slots=True)
class Source:
    """Something to seed from."""

    kind: OriginKind
    location: str = ""
    """Absolute path, URL (with its credentials, if it has some: never record it as it is), or id of a base."""
    ref: str | None = None
    """Branch, tag or commit, for git; None is what the source has checked out."""
    include_ignored: bool = False
    """Take what git ignores along, from a git working copy."""
    committed_only: bool = False
    """Take the files of HEAD, not those of the working tree."""
    checkout: bool = False
    """Whether ``location`` is a git working copy (as against a bare repository or a URL)."""

    @property
    def remote(self) -> bool:
        """Whether ``location`` is a URL."""
        return self.kind is OriginKind.GIT and not self.location.startswith("/")


def classify(
    text: str,
    *,
    cwd: Path,
    ref: str | None = None,
    include_ignored: bool = False,
    committed_only: bool = False,
) -> Source:
    """Tell what ``text`` names: a folder, a git working copy or repository, an archive, a git URL, or ``base:ID``.

    Empty text is an empty workspace. Relative paths are taken from ``cwd``; nothing is read but the kind of the file.
    Raises UsageError when an option does not apply to that kind, PathNotFound when nothing is there.
    """
    source = _kind_of(text, cwd)
    if source.kind is not OriginKind.GIT:
        for given, option in (
            (ref is not None, "--ref"),
            (include_ignored, "--include-ignored"),
            (committed_only, "--committed-only"),
        ):
            if given:
                raise UsageError(
                    f"{option} applies to git sources only, and this is {_NAMES[source.kind]}",
                    hint=f"leave {option} out, or name a git repository",
                )
        return source
    if ref is not None and (not ref or ref.startswith("-") or any(ord(c) < 33 or ord(c) == 127 for c in ref)):
        raise UsageError(f"not a branch, tag or commit: {ref!r}")
    if include_ignored:
        if not source.checkout:
            raise UsageError(
                "--include-ignored applies to a working copy only: a bare repository or URL has no ignored files"
            )
        for chosen, option in ((ref is not None, "--ref"), (committed_only, "--committed-only")):
            if chosen:
                raise UsageError(f"--include-ignored and {option} exclude each other", hint="choose one of them")
    return Source(OriginKind.GIT, source.location, ref, include_ignored, committed_only, source.checkout)


def without_credentials(url: str) -> str:
    """A URL as it may be shown and recorded: without user and password (ssh keeps the user), query and fragment."""
    match = _URL.match(url)
    if match is None:
        return url
    scheme = match[1].lower()
    host, slash, path = url[match.end() :].partition("/")
    user, at, host_only = host.rpartition("@")
    if at:
        name = user.partition(":")[0]
        host = f"{name}@{host_only}" if scheme in ("ssh", "git+ssh", "ssh+git") and name else host_only
    if scheme in ("http", "https"):
        host = re.split(r"[?#]", host, maxsplit=1)[0]
        path = re.split(r"[?#]", path, maxsplit=1)[0]
    return f"{match[0]}{host}{slash}{path}"


_NAMES = {
    OriginKind.NOTHING: "an empty workspace",
    OriginKind.FOLDER: "a plain folder",
    OriginKind.ARCHIVE: "an archive",
    OriginKind.BASE: "a base",
}


def _kind_of(text: str, cwd: Path) -> Source:
    if not text:
        return Source(OriginKind.NOTHING)
    if "\0" in text:
        raise UsageError("a source holds no zero byte")
    if text.startswith(_BASE):
        if not text[len(_BASE) :].isalnum():
            raise UsageError(f"not the id of a base: {text!r}", hint="sandlot base list")
        return Source(OriginKind.BASE, text[len(_BASE) :])
    path = Path(os.path.normpath(cwd / text)) if not text.endswith("/..") else (cwd / text).resolve()
    try:
        info = path.stat()
    except OSError as error:
        return _url(text, path, error)
    if stat.S_ISDIR(info.st_mode):
        if os.path.lexists(path / ".git"):
            return Source(OriginKind.GIT, os.fspath(path), checkout=True)
        if (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir():
            return Source(OriginKind.GIT, os.fspath(path))
        return Source(OriginKind.FOLDER, os.fspath(path))
    if not stat.S_ISREG(info.st_mode):
        raise UsageError(f"neither a folder nor a file: {text!r}")
    if path.name.lower().endswith(ARCHIVE_SUFFIXES):
        return Source(OriginKind.ARCHIVE, os.fspath(path))
    raise UsageError(f"not an archive we know: {text!r}", hint="use a folder, or one of " + ", ".join(ARCHIVE_SUFFIXES))


def _url(text: str, path: Path, error: OSError) -> Source:
    match = _URL.match(text)
    if match is not None:
        if match[1].lower() not in _TRANSPORTS:
            raise UsageError(
                f"git URLs of this kind are not used: {match[1]}://",
                hint="use one of " + ", ".join(f"{name}://" for name in _TRANSPORTS),
            )
        return Source(OriginKind.GIT, text)
    if "::" in text:  # git-remote-<name>: a program of the URL's choice
        raise UsageError("git URLs that name a helper program are not used", hint="use https:// or ssh://")
    if not text.startswith(("/", ".", "-")) and _SCP.fullmatch(text) and "/" not in text.partition(":")[0]:
        return Source(OriginKind.GIT, text)
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise PathNotFound(
            f"nothing is at {path}", hint="name a folder, an archive, a git repository or URL, or base:ID"
        ) from error
    raise UsageError(f"cannot look at {path}: {error.strerror}") from error
