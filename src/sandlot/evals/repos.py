"""Repositories of a workspace: every ref becomes a commit first, then that commit is checked out into a new folder.

What lands in the folder is made here from nothing: an empty repository, one fetch of one commit, no tags, remotes or
reflogs. So an agent finds no later commit in it, whatever the source holds.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sandlot.errors import GitFailed, UnsafePath
from sandlot.evals.cases import History, Repo
from sandlot.evals.gitclient import git, shown_url
from sandlot.evals.scratch import staged

__all__ = ["Resolved", "contained", "materialise", "resolve"]

SHALLOW_DEPTH = 50
"""Commits of ``history: shallow`` when ``clone.depth`` says nothing."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_EVERYTHING = ("+HEAD:refs/found/HEAD", "+refs/heads/*:refs/found/heads/*", "+refs/tags/*:refs/found/tags/*")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A repo, and the commit its ref means now."""

    repo: Repo
    commit: str
    branch: str | None
    """The branch to be on inside; None: a detached HEAD."""

    def facts(self) -> dict[str, object]:
        """What decides the tree, for the fingerprint and the manifest; no credentials."""
        clone = self.repo.clone
        return {
            "path": self.repo.path, "source": shown_url(self.repo.url), "commit": self.commit, "branch": self.branch,
            "history": self.repo.history.value, "depth": clone.depth, "filter": clone.filter,
            "sparse": list(clone.sparse),
        }  # fmt: skip


def contained(repo: Repo) -> str:
    """The repo's folder relative to the workspace, normalised. Raises UnsafePath when it leaves it."""
    path = PurePosixPath(repo.path.removeprefix("/workspace/"))
    parts = [part for part in path.parts if part != "."]
    if path.is_absolute() or ".." in parts or ".git" in (part.lower() for part in parts) or "\0" in repo.path:
        raise UnsafePath(f"{repo.place}: the repo's path {repo.path!r} is not a folder below the workspace")
    return "/".join(parts) or "."


def resolve(repo: Repo) -> Resolved:
    """Ask the source what the ref means. Raises GitFailed, naming where in the suite the ref is written."""
    ref = repo.ref or "HEAD"
    if ref.startswith("-") or any(ord(letter) < 33 or ord(letter) == 127 for letter in ref):
        raise GitFailed(f"{repo.place}: {ref!r} is not a branch, tag or commit")
    if _COMMIT.fullmatch(ref) and not repo.ancestor:
        return Resolved(repo, ref, None)
    commit, branch = (ref, None) if _COMMIT.fullmatch(ref) else _ask(repo, ref)
    if commit is not None and not repo.ancestor:
        return Resolved(repo, commit, branch)
    with _scratch(commit or "") as bare:
        if commit is not None:
            _fetch(repo, bare, commit, depth=repo.ancestor + 1)
        else:  # an abbreviated commit, main~3: only the whole history knows
            _fetch(repo, bare, None)
            ref = next((name for name in _candidates(bare, ref)), ref)
        wanted = f"{commit or ref}~{repo.ancestor}" if repo.ancestor else f"{commit or ref}"
        found = git(
            ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{wanted}^{{commit}}"],
            cwd=bare, remote=False, doing="resolving a ref", codes=(0, 1, 128),
        ).stdout.decode().strip()  # fmt: skip
    if not _COMMIT.fullmatch(found):
        what = f"ancestor {repo.ancestor} of {repo.ref or 'HEAD'!r}" if repo.ancestor else f"ref {repo.ref!r}"
        raise GitFailed(
            f"{repo.place}: {shown_url(repo.url)} has no {what}", hint=f"git ls-remote {shown_url(repo.url)}"
        )
    return Resolved(repo, found, branch)


def _ask(repo: Repo, ref: str) -> tuple[str | None, str | None]:
    """(commit, branch) of a ref that the source advertises, or (None, None); in the order of gitrevisions(7)."""
    names = [ref, f"refs/{ref}", f"refs/tags/{ref}", f"refs/heads/{ref}"]
    said = git(
        ["ls-remote", "--symref", "--", _location(repo), *names, *(f"{name}^{{}}" for name in names)],
        cwd=Path("/"), remote=True, doing=f"{repo.place}: asking {shown_url(repo.url)}", url=repo.url,
    ).stdout.decode("utf-8", "replace")  # fmt: skip
    found: dict[str, str] = {}
    head = None
    for line in said.splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: ") and name == "HEAD":
            head = value.removeprefix("ref: refs/heads/")
        elif _COMMIT.fullmatch(value):
            found[name] = value
    for name in names:
        if name in found:
            branch = head if name == "HEAD" else name.removeprefix("refs/heads/")
            is_branch = name == "HEAD" or name.startswith("refs/heads/")
            return found.get(f"{name}^{{}}", found[name]), branch if is_branch else None
    return None, None


def _candidates(bare: Path, ref: str) -> Iterator[str]:
    """What the beginning of an expression such as ``main~3`` may be called in our copy."""
    name, mark, rest = re.fullmatch(r"([^~^@]*)([~^@]?)(.*)", ref).groups()  # type: ignore[union-attr]  # fits any text
    if name in ("HEAD", ""):
        yield f"refs/found/HEAD{mark}{rest}"
    for kind in ("tags", "heads"):
        if (
            git(
                ["show-ref", "--verify", "--quiet", f"refs/found/{kind}/{name}"],
                cwd=bare, remote=False, doing="looking for a ref", codes=(0, 1, 128),
            ).returncode == 0
        ):  # fmt: skip
            yield f"refs/found/{kind}/{name}{mark}{rest}"


def _location(repo: Repo) -> str:
    """For git; a local repository by the same protocol as any other, so that depth and single commits work."""
    return Path(repo.url).as_uri() if repo.local and "://" not in repo.url else repo.url


@contextmanager
def _scratch(commit: str) -> Iterator[Path]:
    with staged() as folder:
        _initialise(folder, commit, bare=True)
        yield folder


def _initialise(folder: Path, commit: str, *, bare: bool = False) -> None:
    kind = ["--object-format=sha256"] if len(commit) == 64 else []
    git(
        ["init", "--quiet", "--template=", *kind, *(["--bare"] if bare else []), os.fspath(folder)],
        cwd=folder, remote=False, doing="making a repository",
    )  # fmt: skip


def _fetch(repo: Repo, folder: Path, commit: str | None, *, depth: int | None = None) -> None:
    wanted = [commit] if commit else list(_EVERYTHING)
    options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"]
    if depth is not None:
        options.append(f"--depth={depth}")
    source = _location(repo)
    if commit and repo.clone.filter:
        options.append(f"--filter={repo.clone.filter}")
        # The checkout fetches what the filter left out, and finds from where in the configuration.
        for name, value in (("url", source), ("promisor", "true"), ("partialclonefilter", repo.clone.filter)):
            git(["config", f"remote.origin.{name}", value], cwd=folder, remote=False, doing="configuring a clone")
        source = "origin"
    doing = f"{repo.place}: fetching {commit[:12] if commit else 'all refs'} from {shown_url(repo.url)}"
    git(["fetch", *options, "--", source, *wanted], cwd=folder, remote=True, doing=doing, url=repo.url)


def materialise(resolved: Resolved, folder: Path) -> None:
    """Check the commit out into ``folder``, which is empty or missing. Raises GitFailed: then it is of no use."""
    repo = resolved.repo
    folder.mkdir(parents=True, exist_ok=True)
    _initialise(folder, resolved.commit)
    depth = {History.NONE: 1, History.SHALLOW: repo.clone.depth or SHALLOW_DEPTH, History.FULL: None}[repo.history]
    _fetch_commit(resolved, folder, depth)
    _check_out(resolved, folder)
    _forget_origin(folder)


def _fetch_commit(resolved: Resolved, folder: Path, depth: int | None) -> None:
    repo = resolved.repo
    try:
        _fetch(repo, folder, resolved.commit, depth=depth)
    except GitFailed as direct:  # an old server that gives no single commits: take all, and the one from our copy
        try:
            with _scratch(resolved.commit) as bare:
                _fetch(repo, bare, None)
                shallow = [] if depth is None else [f"--depth={depth}"]
                git(
                    ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", *shallow, "--", bare.as_uri(),
                     resolved.commit],
                    cwd=folder, remote=False, doing="fetching from a copy",
                )  # fmt: skip
        except GitFailed:
            raise direct from None


def _check_out(resolved: Resolved, folder: Path) -> None:
    repo, doing = resolved.repo, f"{resolved.repo.place}: checking out {resolved.commit[:12]}"
    lazily = repo.clone.filter is not None  # then, and only then, the checkout talks to the remote

    def run(*arguments: str, remote: bool = False) -> None:
        git(arguments, cwd=folder, remote=remote, doing=doing, url=repo.url)

    if repo.clone.sparse:
        run("sparse-checkout", "set", "--cone", "--", *repo.clone.sparse)
    if resolved.branch is not None:
        run("symbolic-ref", "HEAD", f"refs/heads/{resolved.branch}")
        run("update-ref", f"refs/heads/{resolved.branch}", resolved.commit)
    else:
        run("update-ref", "--no-deref", "HEAD", resolved.commit)
    run("read-tree", "-m", "-u", resolved.commit, remote=lazily)
    # The folder will be copied: only sizes and times of files stay what the index says.
    run("config", "core.checkStat", "minimal")
    run("config", "core.trustctime", "false")


def _forget_origin(folder: Path) -> None:
    """No remote, reflog, tag or note of what was fetched stays."""
    git(["config", "--remove-section", "remote.origin"], cwd=folder, remote=False, doing="tidying", codes=(0, 128))
    own = folder / ".git"
    for name in ("hooks", "info"):  # as people expect them, but empty: templates of git stay out
        (own / name).mkdir(exist_ok=True)
    for name in ("FETCH_HEAD", "ORIG_HEAD", "packed-refs"):
        (own / name).unlink(missing_ok=True)
    shutil.rmtree(own / "logs", ignore_errors=True)
