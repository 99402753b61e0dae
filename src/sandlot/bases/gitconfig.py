"""The few values of a source repository's configuration that come along, read and written by us.

Everything else stays behind: whatever git would execute, credentials, the user's identity.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sandlot.bases.gitcommand import local_environment, run_git
from sandlot.bases.repository import Repository, read_small
from sandlot.bases.source import without_credentials

__all__ = ["GitConfig", "read_config", "user_excludes"]

_PLAIN = re.compile(r"[A-Za-z0-9.-]{0,32}")
_ABOUT_FILES = frozenset(
    (
        "core.filemode",
        "core.symlinks",
        "core.ignorecase",
        "core.precomposeunicode",
        "core.autocrlf",
        "core.eol",
        "core.safecrlf",
        "core.sparsecheckout",
        "core.sparsecheckoutcone",
        "index.sparse",
    )
)
"""How files and the index are to be read: plain words and numbers only."""
_FORMAT = frozenset(("extensions.objectformat", "extensions.partialclone", "extensions.compatobjectformat"))
_SPEED = frozenset(("core.trustctime", "core.checkstat"))
_REMOTE = ("url", "fetch", "pushurl", "promisor", "partialclonefilter", "tagopt")
_BRANCH = ("remote", "merge", "rebase")
_SUBMODULE = ("url", "active", "path")


@dataclass(frozen=True, slots=True)
class GitConfig:
    """Checked (key, value) pairs in git's spelling: section and name in lower case, the part between as it is."""

    values: tuple[tuple[str, str], ...]
    speed: tuple[tuple[str, str], ...] = ()
    """How the source's own index may be believed; for reading it, not for the copy."""
    ref_storage: str = "files"

    @property
    def object_format(self) -> str:
        return dict(self.values).get("extensions.objectformat", "sha1")

    @property
    def partial(self) -> bool:
        """Whether objects may be missing here because a remote has promised them."""
        return any(key == "extensions.partialclone" or key.endswith(".promisor") for key, _ in self.values)

    def text(self, extra: tuple[tuple[str, str], ...] = ()) -> str:
        """The content of a config file with these values and ``extra`` ones."""
        version = int(any(key.startswith("extensions.") for key, _ in self.values))
        lines = [f"[core]\n\tbare = false\n\trepositoryformatversion = {version}\n"]
        for key, value in (*self.values, *extra):
            section, _, rest = key.partition(".")
            middle, dot, name = rest.rpartition(".")
            head = f'{section} "{_escape(middle)}"' if dot else section
            lines.append(f'[{head}]\n\t{name} = "{_escape(value)}"\n')
        return "".join(lines)


def read_config(repository: Repository, folder: Path) -> GitConfig:
    """Read the configuration of a source; git parses a copy of it in ``folder``, includes are not followed.

    Raises GitFailed.
    """
    pairs: list[tuple[str, str]] = []
    for number, path in enumerate((repository.common_dir / "config", repository.git_dir / "config.worktree")):
        text = read_small(path)
        if text is None:
            continue
        copy = folder / f"source-config-{number}"
        copy.write_bytes(text)
        printed = run_git(
            ["config", "--file", copy, "--no-includes", "--null", "--list"],
            environment=local_environment(folder),
            doing=f"cannot read {path}",
        )
        for item in printed.decode("utf-8", "surrogateescape").split("\0")[:-1]:
            key, newline, value = item.partition("\n")
            pairs.append((key, value if newline else "true"))
    values = {pair: None for pair in map(_checked, pairs) if pair is not None}
    storage = [value for key, value in pairs if key == "extensions.refstorage"]
    speed = tuple((key, value) for key, value in pairs if key in _SPEED and _PLAIN.fullmatch(value))
    return GitConfig(tuple(values), speed, storage[-1] if storage else "files")


def user_excludes() -> tuple[tuple[str, str], ...]:
    """The user's own ``core.excludesFile`` and line-end settings, when they have any configuration at all.

    The default place of the ignore file needs no telling: git finds it below HOME.
    """
    home = os.environ.get("HOME", "")
    own = [os.environ.get("GIT_CONFIG_GLOBAL") or os.path.join(home, ".gitconfig")]
    own.append(os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "git", "config"))
    if not any(os.path.exists(path) for path in (*own, "/etc/gitconfig")):
        return ()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    if "GIT_CONFIG_GLOBAL" in os.environ:
        environment["GIT_CONFIG_GLOBAL"] = os.environ["GIT_CONFIG_GLOBAL"]
    environment["GIT_DIR"] = os.devnull  # no repository's configuration, wherever we are
    pattern = r"^core\.(excludesfile|autocrlf|eol)$"
    printed = run_git(
        ["config", "--includes", "--type=path", "--null", "--get-regexp", pattern],
        environment=environment,
        codes=(0, 1),
        doing="cannot read your git configuration",
    )
    found = [item.partition("\n") for item in printed.decode("utf-8", "surrogateescape").split("\0")[:-1]]
    return tuple((key, value) for key, _, value in found if value)


def _checked(pair: tuple[str, str]) -> tuple[str, str] | None:
    key, value = pair
    if any(ord(letter) < 32 for letter in key + value):
        return None
    if key in _ABOUT_FILES or key in _FORMAT:
        return pair if _PLAIN.fullmatch(value) else None
    section, _, rest = key.partition(".")
    middle, _, name = rest.rpartition(".")
    if not middle:
        return None
    if section in ("remote", "submodule") and name in ("url", "pushurl"):
        # A remote helper (`ext::...`) would run a program where this copy is used.
        return None if "::" in value or value.startswith("-") else (key, without_credentials(value))
    allowed = {"remote": _REMOTE, "branch": _BRANCH, "submodule": _SUBMODULE}.get(section, ())
    return pair if name in allowed and not value.startswith("-") else None


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
