"""Repositories as they are written, to repos: contained, with a source that git may be given."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence

from sandlot.evals.cases import Clone, History, Repo
from sandlot.evals.problems import Problems
from sandlot.evals.spec_workspace import CheckoutModel, CloneModel, GitSource, LocalSource, RepoModel
from sandlot.evals.yaml_source import Document, Keys

__all__ = ["contained", "repos_of"]

_SCHEMES = ("https", "http", "ssh", "git", "file")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://.+", re.IGNORECASE)
_SCP = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9._-]+:[^:].*")


def contained(path: str) -> str | None:
    """The path below a workspace that is meant, or None: it leaves it, or would be inside of git's own folder."""
    if path.startswith(("/", "~", "-")) or "\\" in path or any(ord(letter) < 32 for letter in path):
        return None
    clean = posixpath.normpath(path)
    parts = clean.split("/")
    # Also where ".." cancels out: a component in between may be a link by the time the path is used.
    if ".." in path.split("/") or any(part.lower() == ".git" for part in parts):
        return None
    return clean


def repos_of(written: Sequence[RepoModel], document: Document, keys: Keys, problems: Problems) -> tuple[Repo, ...]:
    """All of them. Mistakes go to ``problems``."""
    made: list[Repo] = []
    for at, model in enumerate(written):
        here = (*keys, at)
        place = document.place(*here, "path")
        path = contained(model.path)
        if path is None:
            problems.add(place, f"the repo path {model.path!r} does not stay in the workspace", "write a relative path")
        elif any(path == each.path for each in made):
            problems.add(place, f"two repos have the path {path!r}")
        url = _url(model.source, document, here, problems)
        checkout = model.checkout or CheckoutModel.model_validate({})
        clone = model.clone or CloneModel.model_validate({})
        if checkout.ref is not None and not _is_ref(checkout.ref):
            problems.add(document.place(*here, "checkout", "ref"), f"{checkout.ref!r} is no name of a commit")
        for number, folder in enumerate(clone.sparse):
            if contained(folder.lstrip("/")) is None:
                problems.add(document.place(*here, "clone", "sparse", number), f"{folder!r} does not stay in the repo")
        made.append(
            Repo(
                path or model.path,
                url,
                isinstance(model.source, LocalSource),
                document.place(*here),
                checkout.ref,
                checkout.resolve or "remote",
                checkout.ancestor,
                Clone(clone.depth, clone.filter, tuple(clone.sparse)),
                History(model.history),
            )
        )
    return tuple(made)


def _url(source: GitSource | LocalSource, document: Document, keys: Keys, problems: Problems) -> str:
    if isinstance(source, LocalSource):
        path = os.path.normpath(os.path.join(document.folder, os.path.expanduser(source.path)))
        if not os.path.isdir(path):
            place = document.place(*keys, "source", "path")
            problems.add(place, f"the repository {source.path!r} does not exist", f"looked at {path}")
        return path
    place = document.place(*keys, "source", "url")
    scheme = _URL.fullmatch(source.url)
    # ext:: and fd:: run commands on the host, a leading dash is an option of git.
    if not (scheme and scheme[1].lower() in _SCHEMES) and not _SCP.fullmatch(source.url):
        hint = "write source: {type: local, path: ...} for a folder of this machine"
        problems.add(
            place, f"{source.url!r} is no URL that is cloned: https, http, ssh, git, file or user@host:path", hint
        )
    return source.url


def _is_ref(ref: str) -> bool:
    """No option of git, no range, no revision expression; git check-ref-format says the rest when it is used."""
    return not ref.startswith("-") and ".." not in ref and not re.search(r"[\x00-\x20~^:?*\[\\\x7f]|@\{", ref)
