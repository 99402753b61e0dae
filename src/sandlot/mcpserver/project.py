"""The project a server works for: which folder it is, what a new workspace is made from, and why.

Where it comes from is decided by the user (options) and the host application (environment, roots, working folder),
never by an argument of a tool: a model that has read hostile text can only name what lies below it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from sandlot.errors import PathNotFound, UsageError

__all__ = ["Project", "ProjectOptions", "Seed", "folder_of_root"]

_TOO_MUCH = frozenset({"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/opt", "/proc", "/root", "/run", "/sbin",
                       "/srv", "/sys", "/tmp", "/usr", "/var", "/var/tmp"})  # fmt: skip  # noqa: S108  never a project


@dataclass(frozen=True, slots=True)
class ProjectOptions:
    """What the user said when the server was started."""

    path: str | None = None
    """``--project-path``: this folder."""
    repo_url: str | None = None
    """``--repo-url``: this git repository; ``repo_ref`` names a branch, tag or commit of it."""
    repo_ref: str | None = None
    no_source: bool = False
    """``--no-project-source``: workspaces are made empty."""
    export_dir: str | None = None
    """``--export-dir``: exports go below this folder, instead of the project's."""

    def checked(self) -> ProjectOptions:
        """The same with absolute paths. Raises UsageError, PathNotFound."""
        if self.repo_ref is not None and self.repo_url is None:
            raise UsageError("--repo-ref needs --repo-url")
        if sum((self.path is not None, self.repo_url is not None, self.no_source)) > 1:
            raise UsageError("--project-path, --repo-url and --no-project-source exclude each other")
        if self.repo_url is not None and "://" not in self.repo_url and not _scp_like(self.repo_url):
            raise UsageError(f"{self.repo_url!r} is no URL of a repository", hint="for a folder: --project-path")
        return ProjectOptions(
            _folder(self.path, "--project-path"),
            self.repo_url,
            self.repo_ref,
            self.no_source,
            _folder(self.export_dir, "--export-dir"),
        )


@dataclass(frozen=True, slots=True)
class Seed:
    """What a new workspace is made from when the call names nothing."""

    source: str | None
    """None: nothing."""
    ref: str | None
    why: str
    """Who decided so, as the answer tells it."""


@dataclass(frozen=True, slots=True)
class Project:
    """The folder, and what else follows from the options."""

    options: ProjectOptions
    folder: str | None
    """Its real path; None: there is none, so no path of the host may be named."""
    why: str

    @classmethod
    def find(
        cls,
        options: ProjectOptions,
        environment: Mapping[str, str],
        roots: tuple[str, ...] = (),
        cwd: str | None = None,
    ) -> Project:
        """Decide: options, then ``CLAUDE_PROJECT_DIR``, then the client's roots, then the working folder."""
        if options.path is not None:
            return cls(options, os.path.realpath(options.path), "--project-path")
        if options.no_source or options.repo_url is not None:
            return cls(options, None, "--no-project-source" if options.no_source else "--repo-url")
        named = environment.get("CLAUDE_PROJECT_DIR", "")
        candidates = [(named, "CLAUDE_PROJECT_DIR")] if named else []
        candidates += [(root, "the client's project folder") for root in roots]
        candidates += [(cwd or _working_folder(), "the folder the server was started in")]
        for path, why in candidates:
            real = os.path.realpath(path)
            if os.path.isabs(path) and os.path.isdir(real) and not _too_much(real, environment):
                return cls(options, real, why)
        return cls(options, None, "the server was started in no project folder; --project-path names one")

    def seed(self) -> Seed:
        """What ``workspace_create`` starts from when it is not told."""
        if self.options.repo_url is not None:
            return Seed(self.options.repo_url, self.options.repo_ref, self.why)
        return Seed(self.folder, None, self.why)

    @property
    def exports(self) -> str | None:
        """The folder below which exports may go."""
        return os.path.realpath(self.options.export_dir) if self.options.export_dir is not None else self.folder


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return ""


def _too_much(path: str, environment: Mapping[str, str]) -> bool:
    """Whether this is no project but everything somebody has: a home, or a top folder of the system."""
    homes = {os.path.realpath(os.path.expanduser("~")), os.path.realpath(environment.get("HOME") or "/")}
    return path in _TOO_MUCH or path in homes or any(home.startswith(path + "/") for home in homes)


def folder_of_root(uri: str) -> str | None:
    """The local folder that a client's root names; None when it names something else."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        return None
    path = unquote(parts.path)
    return None if "\0" in path else path


def _folder(path: str | None, option: str) -> str | None:
    if path is None:
        return None
    found = os.path.abspath(os.path.expanduser(path))
    if not os.path.isdir(found):
        raise PathNotFound(f"{option}: {found} is not a folder", hint="name a folder that exists")
    return found


def _scp_like(url: str) -> bool:
    host, colon, _ = url.partition(":")
    return bool(colon) and "/" not in host and not os.path.lexists(url)
