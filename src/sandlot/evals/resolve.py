"""The one workspace plan of a test: what its suite, the test itself and the command line say, with who said what.

Highest first: ``--workspace-path``, ``--workspace-mode``, the test's ``workspace``, the suite's, the default. ``mode``
and ``path`` are decided together: whoever says a mode that is not static has said that there is no path.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from sandlot.errors import UsageError
from sandlot.evals.cases import Hook, HookName, Place, Placement, Repo, ResetKind, WorkspaceMode, WorkspacePlan
from sandlot.evals.problems import Problems
from sandlot.evals.repo_specs import repos_of
from sandlot.evals.spec_workspace import HookModel, WorkspaceModel
from sandlot.evals.yaml_source import Document, Keys

__all__ = ["DEFAULT", "Layer", "WorkspaceOptions", "resolve"]

DEFAULT = "default"
BEFORE_S, AFTER_S = 60.0, 30.0
INSIDE = "/workspace"
"""How long a hook may take when nobody says."""
_MODE_OPTION, _PATH_OPTION = "--workspace-mode", "--workspace-path"


@dataclass(frozen=True, slots=True)
class WorkspaceOptions:
    """What the command line says about workspaces; checked when it is made. Raises UsageError."""

    mode: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        modes = [each.value for each in WorkspaceMode]
        if self.mode is not None and self.mode not in modes:
            close = get_close_matches(self.mode, modes, 1)
            hint = f"did you mean {close[0]}?" if close else ""
            raise UsageError(f"{_MODE_OPTION} {self.mode!r} is not one of pooled, temp or static", hint=hint)
        if self.path is None:
            return
        if not self.path.strip():
            raise UsageError(f"{_PATH_OPTION} is empty", hint="name the folder, or leave the option out")
        if self.mode not in (None, WorkspaceMode.STATIC.value):
            raise UsageError(
                f"{_PATH_OPTION} needs {_MODE_OPTION} static, not {self.mode}", hint=f"leave {_MODE_OPTION} out"
            )
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise UsageError(f"{_PATH_OPTION} {self.path} is not a folder")


@dataclass(frozen=True, slots=True)
class Layer:
    """A ``workspace`` as it is written, and where."""

    model: WorkspaceModel
    document: Document
    keys: Keys = ()
    """Where in the document it stands."""

    def place(self, *keys: str | int) -> Place:
        """Of one of its fields."""
        return self.document.place(*self.keys, *keys)

    def absolute(self, path: str) -> str:
        """A path as it is written here."""
        return os.path.normpath(os.path.join(self.document.folder, os.path.expanduser(path)))


def resolve(layers: Sequence[Layer], options: WorkspaceOptions, place: Place, problems: Problems) -> WorkspacePlan:
    """The plan. ``layers``: the suite's, then the test's own; ``place``: of what they belong to.

    Mistakes go to ``problems``; what is returned then must not be used.
    """
    provenance: dict[str, str] = {}
    mode, path = _mode_and_path(layers, options, place, provenance, problems)
    template = None
    for layer in layers:
        if layer.model.template is not None:
            template = _template(layer, layer.model.template, problems)
            provenance["template"] = str(layer.place("template"))
    repos: tuple[Repo, ...] = ()
    for layer in layers:
        if layer.model.repos is not None:
            repos = repos_of(layer.model.repos, layer.document, (*layer.keys, "repos"), problems)
            provenance["repos"] = str(layer.place("repos"))
    chosen: dict[str, str | None] = dict.fromkeys(("environment", "runtime", "min_isolation"))
    for layer in layers:
        for name in chosen:
            if (written := getattr(layer.model, name)) is not None:
                chosen[name] = written
                provenance[name] = str(layer.place(name))
    hooks, enabled = _hooks(layers, provenance, problems)
    return WorkspacePlan(
        mode, path, template, repos, hooks, enabled,
        chosen["environment"], chosen["runtime"], chosen["min_isolation"], provenance=provenance,
    )  # fmt: skip


def _mode_and_path(
    layers: Sequence[Layer], options: WorkspaceOptions, place: Place, provenance: dict[str, str], problems: Problems
) -> tuple[WorkspaceMode, str | None]:
    mode, path = WorkspaceMode.POOLED, None
    provenance["mode"] = DEFAULT
    said = place
    for layer in layers:
        written, folder = layer.model.mode, (layer.model.path or "").strip()
        if folder and written not in (None, "static"):
            problems.add(
                layer.place("path"), f"workspace.path needs workspace.mode: static, not {written}",
                "write mode: static, or leave path out",
            )  # fmt: skip
        elif folder:
            mode, path = WorkspaceMode.STATIC, layer.absolute(folder)
            said = layer.place("mode") if written else layer.place("path")
            provenance["mode"] = str(said) if written else f"{said} (a path means static)"
            provenance["path"] = str(layer.place("path"))
            if os.path.exists(path) and not os.path.isdir(path):
                problems.add(layer.place("path"), f"workspace.path {path} is not a folder")
        elif written:
            mode, said = WorkspaceMode(written), layer.place("mode")
            provenance["mode"] = str(said)
            if mode is not WorkspaceMode.STATIC and path is not None:
                path = None
                provenance["path"] = f"none: {said} says {written}"
    if options.path is not None:
        mode, path = WorkspaceMode.STATIC, os.path.abspath(options.path)
        provenance |= {"mode": _MODE_OPTION if options.mode else f"{_PATH_OPTION} (means static)", "path": _PATH_OPTION}
    elif options.mode is not None:
        mode, provenance["mode"] = WorkspaceMode(options.mode), _MODE_OPTION
        if mode is not WorkspaceMode.STATIC and path is not None:
            path, provenance["path"] = None, f"none: {_MODE_OPTION} {mode} outranks {provenance['path']}"
    if mode is WorkspaceMode.STATIC and path is None:
        if options.mode is not None:
            problems.add(place, f"{_MODE_OPTION} static needs a folder", f"{_PATH_OPTION} DIR, or write workspace.path")
        else:
            problems.add(said, "workspace.mode: static needs workspace.path", f"write path, or say {_PATH_OPTION} DIR")
    return mode, path


def _template(layer: Layer, written: str, problems: Problems) -> str:
    path, place = layer.absolute(written), layer.place("template")
    if not os.path.exists(path):
        problems.add(place, f"workspace.template {written!r} does not exist", f"looked at {path}")
    elif not os.path.isdir(path):
        problems.add(place, f"workspace.template {written!r} is not a folder", "name the folder it describes")
    return path


def _hooks(
    layers: Sequence[Layer], provenance: dict[str, str], problems: Problems
) -> tuple[dict[HookName, Hook], bool]:
    """Field by field: a test that says only a timeout keeps the suite's command."""
    made: dict[HookName, Hook] = {}
    enabled = True
    for layer in layers:
        if layer.model.hooks is not None and layer.model.hooks.enabled is not None:
            enabled = layer.model.hooks.enabled
            provenance["hooks.enabled"] = str(layer.place("hooks", "enabled"))
    for name in HookName:
        stated = [
            (layer, hook)
            for layer in layers
            if layer.model.hooks is not None and (hook := getattr(layer.model.hooks, name.value)) is not None
        ]
        if stated:
            made[name] = _hook(name, stated, problems)
            provenance[f"hooks.{name}"] = str(made[name].place)
    return made, enabled


def _hook(name: HookName, stated: Sequence[tuple[Layer, HookModel]], problems: Problems) -> Hook:
    command: tuple[str, ...] = ()
    layer = stated[-1][0]
    place, folder, cwd = layer.place("hooks", name.value), layer.document.folder, None
    written, cwd_place = "", place
    timeout_s = BEFORE_S if name.value.startswith("before") else AFTER_S
    reset, placement = ResetKind.NONE, Placement.WORKSPACE
    for layer, hook in stated:
        if hook.command is not None:
            command = _argv(hook.command)
            folder, place = layer.document.folder, layer.place("hooks", name.value)
        if hook.cwd is not None:
            cwd, written, cwd_place = layer.absolute(hook.cwd), hook.cwd, layer.place("hooks", name.value, "cwd")
        if hook.timeout_ms is not None:
            timeout_s = hook.timeout_ms / 1000
        if hook.reset is not None:
            reset = ResetKind(hook.reset)
        if hook.placement is not None:
            placement = Placement(hook.placement)
    if cwd is not None and (wrong := _wrong_cwd(cwd, folder, placement)):
        problems.add(cwd_place, f"the folder {written!r} of this hook {wrong[0]}", wrong[1])
    if not command and all(hook.reset is None for _, hook in stated):
        problems.add(place, f"workspace.hooks.{name} has no command", "write command, or leave the hook out")
    if command and not command[0]:
        problems.add(place, f"the command of workspace.hooks.{name} begins with an empty word")
    return Hook(name, command, timeout_s, folder, cwd or folder, place, reset, placement)


def _wrong_cwd(cwd: str, folder: str, placement: Placement) -> tuple[str, str] | None:
    """Why a hook could not work there, and the way out; None: it can."""
    inside = placement is Placement.WORKSPACE
    if inside and (cwd == INSIDE or cwd.startswith(INSIDE + "/")):
        return None
    if not os.path.isdir(cwd):
        return "does not exist", f"looked at {cwd}"
    if inside and os.path.relpath(cwd, folder).split(os.sep)[0] == os.pardir:
        return f"is not below {folder}", "move the hook's files beside the suite, or write placement: host"
    return None


def _argv(written: str | list[str]) -> tuple[str, ...]:
    return ("/bin/sh", "-c", written) if isinstance(written, str) else tuple(written)
