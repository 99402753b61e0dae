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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import Place
from sandlot.evals.yaml_source import read_text, shown_path

__all__ = ["NOT_SET", "Recipe", "needs_network", "read_dockerfile", "translated"]

WORKSPACE = "/workspace"
_NOTHING_HERE = frozenset({"CMD", "EXPOSE", "LABEL", "MAINTAINER", "SHELL", "STOPSIGNAL"})
"""Instructions without an effect on a task's files or commands."""
_SYSTEMS = frozenset({"debian", "ubuntu", "python", "buildpack-deps"})
_OFFICIAL = frozenset({"", "library", "docker.io", "docker.io/library", "public.ecr.aws/docker/library"})
_PYTHON = re.compile(r"(3\.\d+)")
_NETWORK = re.compile(
    r"(?:^|[\s;&|(])(?P<tool>apt-get|apt|apk|yum|dnf|pip3? install|python3? -m pip install|npm (?:ci|install|i)\b|"
    r"curl|wget|git clone|uvx?|cargo install|go install|conda)(?=\s|$|;)"
)
NOT_SET = frozenset({"PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH"})
"""Variables that mean something else in a workspace than in an image."""
_INSTALLED = Path("/var/lib/dpkg/info")


@dataclass
class Recipe:
    """What a Dockerfile does, in a workspace."""

    workdir: str
    """The container's folder that is /workspace here."""
    cwd: str = "/"
    """Where the instruction at hand runs: / before WORKDIR."""
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


def read_dockerfile(path: Path, workdir: str = "") -> Recipe:
    """Raises SuiteInvalid for what cannot be done without building an image.

    ``workdir``: where the task itself says that commands run; it counts as a WORKDIR.
    """
    written = list(_instructions(path))
    if not written or written[0][1] != "FROM":
        raise SuiteInvalid(f"{shown_path(path)}: it does not begin with FROM")
    # Known before the first step: a RUN may name the folder that a later WORKDIR makes the current one.
    recipe = Recipe(_workdir(path, written, workdir))
    for at, (place, word, rest) in enumerate(written):
        if word == "FROM" and at:
            raise SuiteInvalid(f"{place}: builds of several stages are not run")
        _apply(recipe, path.parent, place, word, rest)
    return recipe


def _workdir(path: Path, written: Sequence[tuple[Place, str, str]], of_task: str) -> str:
    found = posixpath.normpath(of_task) if of_task else ""
    for place, word, rest in written:
        if word == "WORKDIR":
            folder = posixpath.normpath(rest.strip("\"'"))
            if not folder.startswith("/") or folder == "/" or "$" in folder or found not in ("", folder):
                raise SuiteInvalid(f"{place}: WORKDIR {rest} is not run", hint="one absolute folder for all is")
            found = folder
    if not found:
        raise SuiteInvalid(f"{shown_path(path)}: no WORKDIR", hint="a task's files must have one folder to be in")
    return found


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
        recipe.cwd = recipe.workdir
    elif word == "ENV":
        recipe.env |= _environment(place, rest)
    elif word in ("COPY", "ADD"):
        recipe.steps += _copy(recipe, context, place, word, rest)
    elif word == "RUN":
        recipe.steps += _run(recipe, place, rest)
    elif word not in _NOTHING_HERE:
        hint = "Dockerfiles of FROM, WORKDIR, ENV, COPY and RUN are"
        raise SuiteInvalid(f"{place}: {word} is not run without building an image", hint=hint)
    elif word == "SHELL" and _words(place, word, rest)[:1] not in (["/bin/bash"], ["/bin/sh"]):
        raise SuiteInvalid(f"{place}: this shell is not run")


def _words(place: Place, word: str, rest: str) -> list[str]:
    """Of an instruction: a JSON list of texts, or words as a shell splits them."""
    try:
        found = json.loads(rest) if rest.startswith("[") else shlex.split(rest)
    except (ValueError, RecursionError) as error:
        raise SuiteInvalid(f"{place}: {word} cannot be read: {error}") from error
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise SuiteInvalid(f"{place}: {word} cannot be read: {rest}")
    return found


def _check_image(place: Place, rest: str) -> None:
    image = next((each for each in rest.split() if not each.startswith("--")), "")
    if " as " in rest.lower():
        raise SuiteInvalid(f"{place}: builds of several stages are not run")
    whose, _, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    if name not in _SYSTEMS or whose not in _OFFICIAL:  # somebody's image of that name may hold anything
        hint = f"{', '.join(sorted(_SYSTEMS))} are taken for this machine's own system"
        raise SuiteInvalid(f"{place}: the image {image!r} is not what this machine has", hint=hint)
    wanted = _PYTHON.match(tag) if name == "python" else None
    if wanted and not os.path.exists(f"/usr/bin/python{wanted[1]}"):
        raise SuiteInvalid(f"{place}: this machine has no Python {wanted[1]} in /usr/bin")


def _environment(place: Place, rest: str) -> dict[str, str]:
    words = _words(place, "ENV", rest)
    if words and "=" not in words[0]:
        words = [f"{words[0]}={' '.join(words[1:])}"]
    return dict(_variable(place, *each.partition("=")) for each in words)


def _variable(place: Place, name: str, equals: str, value: str) -> tuple[str, str]:
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise SuiteInvalid(f"{place}: ENV {name}{equals}{value} cannot be read")
    if "$" in value or name in NOT_SET:
        raise SuiteInvalid(f"{place}: ENV {name} cannot be set in a workspace")
    return name, value


def _copy(recipe: Recipe, context: Path, place: Place, word: str, rest: str) -> list[str]:
    if rest.startswith(("--", "<<")):
        raise SuiteInvalid(f"{place}: {word} with options is not run")
    words = _words(place, word, rest)
    *sources, target = words if len(words) > 1 else ["", ""]
    inside = posixpath.normpath(posixpath.join(recipe.cwd, target))
    if "$" in target or not (inside + "/").startswith(recipe.workdir + "/"):
        raise SuiteInvalid(f"{place}: {word} to {target!r} leaves the folder of the task", hint="copy below WORKDIR")
    inside = WORKSPACE + inside[len(recipe.workdir) :]
    steps = []
    for source in sources:
        clean = posixpath.normpath(source.lstrip("/") or ".")
        if clean.startswith("..") or "://" in source or re.search(r"[*?\[$]", source):
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
    command = shlex.join(_words(place, "RUN", rest)) if rest.startswith("[") else rest
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
