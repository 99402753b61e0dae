"""A Dockerfile that is FROM, WORKDIR, ENV, COPY and RUN on what this machine has; anything else is refused, with why.

Nothing is built: files are copied and commands run inside a workspace, on the machine's own system, as an ordinary
user and without a network. A step that cannot work like that is found here, or fails there and makes trials errors.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import Place
from sandlot.evals.yaml_source import read_text, shown_path

__all__ = ["Recipe", "needs_network", "read_dockerfile", "translated"]

WORKSPACE = "/workspace"
_SYSTEMS = frozenset({"debian", "ubuntu", "python", "buildpack-deps"})
_PYTHON = re.compile(r"(3\.\d+)")
_NETWORK = re.compile(
    r"(?:^|[\s;&|(])(?P<tool>apt-get|apt|apk|yum|dnf|pip3? install|python3? -m pip install|npm (?:ci|install|i)\b|"
    r"curl|wget|git clone|uvx?|cargo install|go install|conda)(?=\s|$|;)"
)
_INSTALLED = Path("/var/lib/dpkg/info")


@dataclass
class Recipe:
    """What a Dockerfile does, in a workspace."""

    workdir: str = ""
    env: dict[str, str] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    """Shell commands, run in /workspace; ``$SRC`` is the folder of the Dockerfile."""


def translated(text: str, workdir: str) -> str:
    """A text with the container's paths as they are here."""
    return re.sub(rf"(?<![\w./-]){re.escape(workdir)}(?![\w-])", WORKSPACE, text) if workdir else text


def needs_network(script: str) -> str | None:
    """The first tool in a script that fetches from elsewhere, or None."""
    code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))
    found = _NETWORK.search(code)
    return found["tool"] if found else None


def read_dockerfile(path: Path) -> Recipe:
    """Raises SuiteInvalid for what cannot be done without building an image."""
    recipe = Recipe()
    for place, word, rest in _instructions(path):
        _apply(recipe, path.parent, place, word, rest)
    if not recipe.workdir:
        raise SuiteInvalid(f"{shown_path(path)}: no WORKDIR", hint="a task's files must have one folder to be in")
    return recipe


def _instructions(path: Path) -> Iterator[tuple[Place, str, str]]:
    name, text, start = shown_path(path), "", 0
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        start = start or number
        if line.rstrip().endswith("\\"):
            text += line.rstrip()[:-1] + " "
            continue
        word, _, rest = (text + line).strip().partition(" ")
        yield Place(name, start, 1), word.upper(), rest.strip()
        text, start = "", 0
    if text.strip():
        raise SuiteInvalid(f"{Place(name, start, 1)}: the last line goes on nowhere")


def _apply(recipe: Recipe, context: Path, place: Place, word: str, rest: str) -> None:
    if word == "FROM":
        _check_image(place, rest)
    elif word == "WORKDIR":
        folder = posixpath.normpath(rest.strip("\"'"))
        if not folder.startswith("/") or folder == "/" or recipe.workdir not in ("", folder):
            raise SuiteInvalid(f"{place}: WORKDIR {rest} is not run", hint="one absolute folder for all is")
        recipe.workdir = folder
    elif word == "ENV":
        recipe.env |= _environment(place, rest)
    elif word in ("COPY", "ADD"):
        recipe.steps += _copy(recipe, context, place, word, rest)
    elif word == "RUN":
        recipe.steps += _run(recipe, place, rest)
    elif word not in ("CMD", "LABEL", "MAINTAINER", "SHELL"):
        hint = "Dockerfiles of FROM, WORKDIR, ENV, COPY and RUN are"
        raise SuiteInvalid(f"{place}: {word} is not run without building an image", hint=hint)
    elif word == "SHELL" and json.loads(rest or "[]")[:1] not in (["/bin/bash"], ["/bin/sh"]):
        raise SuiteInvalid(f"{place}: this shell is not run")


def _check_image(place: Place, rest: str) -> None:
    image = next((each for each in rest.split() if not each.startswith("--")), "")
    if " as " in rest.lower():
        raise SuiteInvalid(f"{place}: builds of several stages are not run")
    name, _, tag = image.rpartition("/")[2].partition(":")
    if name not in _SYSTEMS:
        hint = f"{', '.join(sorted(_SYSTEMS))} are taken for this machine's own system"
        raise SuiteInvalid(f"{place}: the image {image!r} is not what this machine has", hint=hint)
    wanted = _PYTHON.match(tag) if name == "python" else None
    if wanted and not os.path.exists(f"/usr/bin/python{wanted[1]}"):
        raise SuiteInvalid(f"{place}: this machine has no Python {wanted[1]} in /usr/bin")


def _environment(place: Place, rest: str) -> dict[str, str]:
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise SuiteInvalid(f"{place}: ENV cannot be read: {error}") from error
    if words and "=" not in words[0]:
        return {words[0]: " ".join(words[1:])}
    found = {}
    for each in words:
        name, equals, value = each.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise SuiteInvalid(f"{place}: ENV {each} cannot be read")
        if "$" in value or name in ("PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH"):
            raise SuiteInvalid(f"{place}: ENV {name} cannot be set in a workspace")
        found[name] = value
    return found


def _copy(recipe: Recipe, context: Path, place: Place, word: str, rest: str) -> list[str]:
    if rest.startswith(("--", "<<")):
        raise SuiteInvalid(f"{place}: {word} with options is not run")
    words = json.loads(rest) if rest.startswith("[") else shlex.split(rest)
    *sources, target = words if len(words) > 1 else ["", ""]
    inside = posixpath.normpath(posixpath.join(recipe.workdir or "/", target))
    if not recipe.workdir or not (inside + "/").startswith(recipe.workdir + "/"):
        raise SuiteInvalid(f"{place}: {word} to {target!r} leaves the folder of the task", hint="copy below WORKDIR")
    inside = WORKSPACE + inside[len(recipe.workdir) :]
    steps = []
    for source in sources:
        clean = posixpath.normpath(source.lstrip("/") or ".")
        if clean.startswith("..") or "://" in source or re.search(r"[*?\[]", source):
            raise SuiteInvalid(f"{place}: {word} {source!r} is not run", hint="name files of environment/ one by one")
        host = context / clean
        if not host.exists() or (word == "ADD" and re.search(r"\.(tar|tgz|gz|xz|bz2|zst)$", clean)):
            raise SuiteInvalid(f"{place}: {word} {source!r}: there is no such file, or it would be unpacked")
        inner = f'"$SRC"/{shlex.quote(clean)}'
        if host.is_dir():
            steps += [f"mkdir -p {shlex.quote(inside)}", f"cp -R {inner}/. {shlex.quote(inside)}"]
        elif target.endswith(("/", ".")) or len(sources) > 1:
            steps += [f"mkdir -p {shlex.quote(inside)}", f"cp {inner} {shlex.quote(inside)}/"]
        else:
            steps += [f"mkdir -p {shlex.quote(posixpath.dirname(inside))}", f"cp {inner} {shlex.quote(inside)}"]
    return steps


def _run(recipe: Recipe, place: Place, rest: str) -> list[str]:
    if rest.startswith("--") or "<<" in rest:
        raise SuiteInvalid(f"{place}: RUN with options or here-documents is not run")
    command = shlex.join(json.loads(rest)) if rest.startswith("[") else rest
    kept = []
    for part in re.split(r"\s*&&\s*", command):
        if not _is_there(part, place):
            kept.append(part)
    left = " && ".join(kept)
    if tool := needs_network(left):
        raise SuiteInvalid(f"{place}: RUN {tool} needs a network", hint="workspaces are prepared without one")
    return [translated(left, recipe.workdir)] if left else []


def _is_there(part: str, place: Place) -> bool:
    """Whether a step only brings what this machine has already: Debian packages that are installed."""
    words = part.split()
    if words[:1] == ["rm"] and words[-1].startswith("/var/lib/apt/lists"):
        return True
    if words[:1] not in (["apt-get"], ["apt"]):
        return False
    action = next((each for each in words[1:] if not each.startswith("-")), "")
    if action in ("update", "clean", "autoremove", "autoclean"):
        return True
    packages = [each.partition("=")[0] for each in words[1:] if not each.startswith("-") and each != action]
    missing = [each for each in packages if not _has_package(each)]
    if action != "install" or missing:
        what = f"the packages {', '.join(missing)} are not on this machine" if missing else f"{part!r} is not run"
        raise SuiteInvalid(f"{place}: {what}", hint="install them on the machine: workspaces show its system")
    return True


def _has_package(name: str) -> bool:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", name):
        return False
    return (_INSTALLED / f"{name}.list").exists() or any(_INSTALLED.glob(f"{name}:*.list"))
