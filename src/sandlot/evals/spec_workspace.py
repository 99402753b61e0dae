"""What may be written under ``workspace:``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from sandlot.evals.strict import LIST, MAPPING, TEXT, Strict, kind_of

__all__ = [
    "HOOK_NAMES",
    "Argv",
    "CloneModel",
    "HookModel",
    "HooksModel",
    "RepoModel",
    "WorkspaceModel",
    "WorkspaceOrFile",
]

HOOK_NAMES = ("before_all", "before_each", "after_each", "after_all")
Filled = Annotated[str, StringConstraints(min_length=1)]
Argv = Annotated[
    Annotated[Filled, Tag(TEXT)] | Annotated[list[str], Field(min_length=1), Tag(LIST)], Discriminator(kind_of)
]
"""A command line for /bin/sh, or a list of arguments, which must be text: ``[true]`` is a boolean."""


class GitSource(Strict):
    """A repository that git can clone."""

    type: Literal["git"]
    url: Filled


class LocalSource(Strict):
    """A repository in a folder of this machine."""

    type: Literal["local"]
    path: Filled


class CheckoutModel(Strict):
    """Which commit."""

    ref: Filled | None = Field(None, description="Branch, tag or commit; it is resolved to a commit first. [HEAD]")
    resolve: Literal["remote", "local"] | None = Field(None, description="Where a ref is looked up.")
    ancestor: int = Field(0, ge=0, le=100_000, description="So many first parents before it.")


class CloneModel(Strict):
    """How it is fetched."""

    depth: int | None = Field(None, ge=1)
    filter: Filled | None = Field(None, description="As of git clone --filter, such as blob:none.")
    sparse: list[Filled] = Field([], description="Only these folders are checked out.")


class RepoModel(Strict):
    """A git repository in the workspace."""

    path: Filled = Field(description="Folder inside the workspace.")
    source: Annotated[GitSource | LocalSource, Discriminator("type")]
    checkout: CheckoutModel | None = None
    clone: CloneModel | None = None
    history: Literal["none", "shallow", "full"] = Field(
        "none", description="none: the checkout's own commit only, so that nobody finds the fix in the history."
    )
    REMOVED: ClassVar[Mapping[str, str]] = {
        "repo": "write source: {type: git, url: ...}",
        "commit": "write checkout: {ref: ...}",
        "base_commit": "write checkout: {ref: ...}",
        "url": "write source: {type: git, url: ...}",
        "ref": "write checkout: {ref: ...}",
    }


class HookModel(Strict):
    """A command around tests; it runs inside the workspace."""

    command: Argv | None = None
    timeout_ms: int | float | None = Field(None, gt=0, le=86_400_000)
    cwd: Filled | None = Field(None, description="Relative to the folder of this file, which is the default, too.")
    reset: Literal["none", "fast", "strict"] | None = None
    placement: Literal["workspace", "host"] | None = Field(None, description="host: not isolated, as the operator.")
    ALIASES: ClassVar[Mapping[str, str]] = {"script": "command"}


class HooksModel(Strict):
    """Commands around tests."""

    enabled: bool | None = None
    before_all: HookModel | None = None
    before_each: HookModel | None = None
    after_each: HookModel | None = None
    after_all: HookModel | None = None
    REMOVED: ClassVar[Mapping[str, str]] = {
        "before_all_tests": "write before_all",
        "after_all_tests": "write after_all",
        "before_each_test": "write before_each",
        "after_each_test": "write after_each",
        "on_reuse": "write before_each; every test starts from the prepared state anyway",
        "on_finish": "write after_all",
        "pre_run": "give the target its environment in targets.yaml",
    }


class WorkspaceModel(Strict):
    """Where trials run."""

    mode: Literal["pooled", "temp", "static"] | None = Field(
        None,
        description="pooled: prepared once, shared as an overlay. temp: prepared anew for every run. static: the "
        "folder `path`, used as it is. [pooled; static where path is written]",
    )
    path: str | None = Field(None, description="The folder of mode static.")
    template: Filled | None = Field(None, description="A folder whose content the workspace starts with.")
    environment: Filled | None = Field(
        None, description="What is inside besides the files: host, or a name of sandlot env list. [the user's setting]"
    )
    runtime: Literal["bubblewrap", "qemu", "auto"] | None = Field(
        None, description="What isolates trials; auto: the cheapest that reaches min_isolation. [the user's setting]"
    )
    min_isolation: Literal["none", "process", "kernel", "vm-emulated", "vm"] | None = Field(
        None, description="Nothing runs that is isolated less: the run fails. [the user's setting]"
    )
    repos: list[RepoModel] | None = None
    hooks: HooksModel | None = None
    isolation: Literal["per_test"] | None = Field(None, description="Every test has a workspace of its own, always.")
    REMOVED: ClassVar[Mapping[str, str]] = {
        "static": "write mode: static, with path",
        "static_path": "write mode: static, with path",
        "pool": "write mode: pooled, or mode: temp",
        "docker": "leave it out: trials run in sandlot's own isolation",
        "env": "say what is needed in a before_all hook, and let it fail",
        "scripts": "write hooks",
        "reset": "write hooks: {after_each: {reset: ...}}; every trial starts clean anyway",
        "setup": "write hooks: {before_all: ...}",
        "teardown": "write hooks: {after_all: ...}",
    }


WorkspaceOrFile = Annotated[
    Annotated[Filled, Tag(TEXT)] | Annotated[WorkspaceModel, Tag(MAPPING)], Discriminator(kind_of)
]
"""The workspace, or the name of a file that holds it."""
