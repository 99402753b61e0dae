"""What a tool's arguments may name on the host, and what stands for them when they name nothing.

Every argument of an operation that is marked ``host_path`` passes through here; one that nobody has thought of is
refused.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sandlot.errors import UnsafePath, UsageError
from sandlot.mcpserver.confinement import destination_below, exclusively, shared, source_below
from sandlot.mcpserver.project import Project

if TYPE_CHECKING:
    from sandlot.sdk import Sandlot

__all__ = ["host_fields", "names_host"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:://|::)|(?:[A-Za-z0-9_.-]+@)?[A-Za-z0-9_.-]+:(?!/*$)")
_THE_PROJECT = "the project folder"
_THE_EXPORTS = "the export folder"

Fields = dict[str, Any]


def names_host(operation: str) -> bool:
    """Whether the operation has an argument that names something on the host, or works on the project itself."""
    from sandlot.evals.requests import EVALS, load

    return operation in EVALS or any(about.host_path for _, about in load(operation).arguments())


def host_fields(
    operation: str, fields: Fields, project: Project, sandlot: Sandlot, state: str, stack: contextlib.ExitStack
) -> tuple[Fields, str]:
    """The fields with paths that are safe to use until ``stack`` is closed; and why the source is what it is.

    ``state`` is the state folder. Raises UnsafePath, PathNotFound, TargetExists, UsageError.
    """
    from sandlot.operations import catalog

    found, why = dict(fields), ""
    confine = _CONFINED.get(operation)
    if confine is not None:
        stack.enter_context(exclusively(state) if operation == "workspace_export" else shared(state))
        why = confine(found, project, sandlot)
    for field, about in catalog.load(operation).arguments():
        unchecked = about.host_path and found.get(field.name) and field.name != _CHECKED.get(operation)
        if unchecked:
            raise UsageError(f"{field.name} is not taken from here", hint="")
    return found, why


def _create(fields: Fields, project: Project, _sandlot: Sandlot) -> str:
    given = fields.get("source")
    if given is None:
        seed = project.seed()
        fields["source"] = seed.source
        if seed.source is None:
            if fields.get("ref") or fields.get("committed_only") or fields.get("include_ignored"):
                raise UsageError(f"there is no project to take this from: {project.why}", hint="")
        elif seed.ref is not None:
            if fields.get("ref") not in (None, seed.ref):
                raise UsageError(f"the server was started for {seed.ref!r} of the project", hint="leave ref out")
            fields["ref"] = seed.ref
        return seed.why
    folder = _needs_folder(project, "source")
    if given.startswith("base:") or (_URL.match(given) and not os.path.lexists(os.path.join(folder, given))):
        # A URL could reach whatever the host reaches, and a base holds somebody's other project.
        raise UnsafePath(
            f"{given!r} is no path below {_THE_PROJECT}",
            hint="the user names repositories when the server is started: --repo-url",
        )
    fields["source"] = source_below(folder, given, _THE_PROJECT)
    return "argument source"


def _sync(fields: Fields, project: Project, sandlot: Sandlot) -> str:
    folder = _needs_folder(project, "source")
    given = fields.get("source")
    fields["source"] = source_below(folder, given, _THE_PROJECT) if given else _origin(fields, folder, sandlot)
    return ""


def _export(fields: Fields, project: Project, _sandlot: Sandlot) -> str:
    folder, what = project.exports, _THE_PROJECT if project.options.export_dir is None else _THE_EXPORTS
    if folder is None:
        raise UsageError(f"there is no folder to export to: {project.why}", hint="the user can name one: --export-dir")
    overwrite = bool(fields.get("overwrite"))
    fields["destination"] = destination_below(folder, fields["destination"], what, overwrite=overwrite)
    return ""


def _apply(fields: Fields, project: Project, sandlot: Sandlot) -> str:
    if fields.get("yes"):  # the user's files are the user's: a model may show what would change
        raise UsageError("only the user applies changes to the project", hint="the user runs: sandlot workspace apply")
    folder = _needs_folder(project, "target")
    given = fields.get("target")
    fields["target"] = source_below(folder, given, _THE_PROJECT) if given else _origin(fields, folder, sandlot)
    return ""


def _origin(fields: Fields, folder: str, sandlot: Sandlot) -> str:
    """Where the workspace came from, if that is below the project."""
    location = sandlot.get(fields["workspace"]).info.origin.location
    if not os.path.isabs(location):
        raise UsageError("this workspace did not come from a folder of the host", hint="")
    return source_below(folder, location, _THE_PROJECT)


def _needs_folder(project: Project, argument: str) -> str:
    if project.folder is None:
        raise UsageError(f"{argument} can name nothing here: {project.why}", hint=f"leave {argument} out")
    return project.folder


_CONFINED: dict[str, Callable[[Fields, Project, Any], str]] = {
    "workspace_create": _create,
    "workspace_run": _create,
    "workspace_sync_push": _sync,
    "workspace_export": _export,
    "workspace_apply": _apply,
}
_CHECKED = {
    "workspace_create": "source",
    "workspace_run": "source",
    "workspace_sync_push": "source",
    "workspace_export": "destination",
    "workspace_apply": "target",
}
