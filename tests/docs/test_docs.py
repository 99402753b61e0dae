"""What the documentation says is so: commands exist, links lead somewhere, sessions print what they show."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sandlot as package
from sandlot.cli import eval_suites, eval_words, host, mcp, pool, shell, words
from sandlot.cli.groups import EXTRA, GROUPS, find
from sandlot.operations import catalog
from sandlot.sdk import Sandlot
from sandlot.settings import Settings
from tests.docs.sessions import ROOT, comparable, play, steps

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
WITH_SESSIONS = [name for name in NAMES if "\n```console\n" in (ROOT / name).read_text()]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`(sandlot [a-z][^`]*)`")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_NOT_THE_PROGRAM = ("cd", "git", "import", "pip")


def blocks(page: str, *languages: str) -> list[str]:
    """The fenced blocks of a page that are in one of these languages."""
    return [text for language, text in _FENCE.findall(page) if language in languages]


def shell_lines(page: str) -> Iterator[str]:
    """Command lines of a page, without what sessions print."""
    for block in blocks(page, "sh"):
        yield from re.sub(r"\\\n\s*", "", block).splitlines()
    for command, _ in steps(page):
        yield re.sub(r"\\\n\s*", "", command)


def invocations(line: str) -> Iterator[list[str]]:
    """The words behind each ``sandlot`` that a shell line runs."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    redirection = False
    for token in [*lexer, ";"]:
        if token and set(token) <= set("();<>|&"):
            if "sandlot" in command and command[0] not in _NOT_THE_PROGRAM:
                yield command[command.index("sandlot") + 1 :]
                command = []
            redirection = token[0] in "<>"
            if not redirection:
                command = []
        elif redirection:
            redirection = False
        else:
            command.append("1" if token.startswith("$") else token)


def parse(line: list[str]) -> None:
    """Parse with the command's own parser. Raises UsageError, or KeyError for an unknown command."""
    if line[:1] in (["--version"], ["--help"]) or tuple(line[:1]) in EXTRA:
        return
    if line[:1] in (["host"], ["pool"], ["eval"]):
        evals = eval_suites if line[1] in eval_suites.COMMANDS else eval_words
        room: Any = {"host": host, "pool": pool, "eval": evals}[line[0]]
        room.parser(line[1]).parse_args(line[2:])
        return
    if line[:2] == ["mcp", "serve"]:
        serving = words.Parser(prog="sandlot mcp serve")
        mcp.add_options(serving)
        serving.parse_args(line[2:])
        return
    if line[-1:] == ["--help"] and tuple(line[:-1]) in {**GROUPS, **catalog.BY_COMMAND}:
        return
    name, options, group = find(line)
    if name is None and group == shell.OPEN and options:
        attach = options[0] == "attach"
        options = options[: options.index("--")] if "--" in options else options
        shell.parser(shell.ATTACH if attach else shell.OPEN).parse_args(options[attach:])
        return
    if name is None:
        raise KeyError(" ".join(line))
    operation: Any = catalog.load(name)
    command = None
    if "--" in options:
        at = options.index("--")
        options, command = options[:at], options[at + 1 :]
    words.request_of(operation, words.build(operation).parse_args(options), command)


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", page)):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)).lower().replace(" ", "-")
        found.add(plain)
    return found


def test_generated_pages_are_up_to_date() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path])}
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "reference.py", "--check"],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, f"run scripts/reference.py:\n{(done.stdout + done.stderr).decode()}"


@pytest.mark.parametrize("name", NAMES)
def test_command_lines_parse(name: str) -> None:
    wrong = []
    for line in shell_lines((ROOT / name).read_text()):
        for call in invocations(line):
            try:
                parse(call)
            except (package.SandlotError, KeyError) as error:
                wrong.append(f"{line}: {error}")
    assert not wrong, "\n".join(wrong)


def test_a_wrong_command_line_is_found() -> None:
    calls = [
        call
        for line in ("X=1 sandlot workspace staus x | cat", "id=$(sandlot run --nope -- a)")
        for call in invocations(line)
    ]
    assert calls == [["workspace", "staus", "x"], ["run", "--nope", "--", "a"]]
    for call in calls:
        with pytest.raises((package.SandlotError, KeyError)):
            parse(call)


@pytest.mark.parametrize("name", NAMES)
def test_commands_named_in_prose_exist(name: str) -> None:
    known = {*catalog.BY_COMMAND, *EXTRA, *(group for group in GROUPS if group)}
    wrong = []
    for text in _INLINE.findall(_FENCE.sub("", (ROOT / name).read_text())):
        line = tuple(text.split()[1:])
        if not any(line[: len(path)] == path for path in known):
            wrong.append(text)
    assert not wrong, wrong


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    page = path.read_text()
    broken = []
    for link in _LINK.findall(_FENCE.sub("", page)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert not broken, broken


@pytest.mark.parametrize("name", WITH_SESSIONS)
def test_sessions_print_what_they_show(name: str, sandlot: Sandlot) -> None:
    if sandlot.doctor().runtimes[0].storage != "overlay":
        pytest.skip("the sessions were recorded on a machine with overlays")
    if shutil.which("bash") is None:
        pytest.skip("the sessions are for bash")
    recorded = steps((ROOT / name).read_text())
    for (command, expected), printed in zip(recorded, play([command for command, _ in recorded]), strict=True):
        assert comparable(printed) == comparable(expected), f"after: {command}"


@pytest.mark.parametrize("name", [name for name in NAMES if blocks((ROOT / name).read_text(), "python")])
def test_python_in_the_docs_runs(name: str, state_dir: Path, sandlot: Sandlot, tmp_path: Path,
                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    shop = tmp_path / "shop"
    shutil.copytree(ROOT / "docs" / "tutorial" / "shop", shop)
    identity = ["-c", "user.name=Ana", "-c", "user.email=ana@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "A basket"]):
        subprocess.run(["git", *arguments], cwd=shop, check=True, capture_output=True)
    monkeypatch.chdir(shop)
    monkeypatch.setenv("SANDLOT_STATE_DIR", str(state_dir))
    namespace: dict[str, Any] = {"__name__": "docs"}
    page = (ROOT / name).read_text()
    for block in _FENCE.finditer(page):
        if block[1] == "python":  # compiled at its own line number, so that a failure says where it is
            exec(compile("\n" * page.count("\n", 0, block.start(2)) + block[2], name, "exec"), namespace)


_UNITS = {"": 1, " s": 1, " KiB": 1 << 10, " MiB": 1 << 20, " GiB": 1 << 30}
_LIMITS = re.findall(
    r"^\| .* \| ([\d,]+)( \w+)? \| `([\w.]+)` \|$",
    (ROOT / "docs/reference/limits-and-defaults.md").read_text(),
    re.MULTILINE,
)


@pytest.mark.parametrize(("number", "unit", "name"), _LIMITS)
def test_limits_are_what_the_code_says(number: str, unit: str, name: str) -> None:
    found: Any = package
    for depth, part in enumerate(name.split(".")):
        if isinstance(found, type):
            found = found()
        if not hasattr(found, part):
            importlib.import_module("sandlot." + ".".join(name.split(".")[: depth + 1]))
        found = getattr(found, part)
    assert found == int(number.replace(",", "")) * _UNITS[unit]


def test_every_limit_of_the_page_is_compared() -> None:
    page = (ROOT / "docs/reference/limits-and-defaults.md").read_text()
    assert len(_LIMITS) == len(re.findall(r"^\|(?! what \||---)", page, re.MULTILINE)) > 20


def test_settings_page_lists_the_settings_and_their_defaults() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    listed = dict(re.findall(r"^\| `([a-z_]+)` \| (\S+) \|", page, re.MULTILINE))
    defaults = {each.name: each.default for each in dataclasses.fields(Settings) if each.name != "sources"}
    assert listed.keys() == defaults.keys()
    for name, default in defaults.items():
        parse = next(each.metadata["parse"] for each in dataclasses.fields(Settings) if each.name == name)
        assert parse(listed[name]) == default


def test_the_changelog_knows_this_version() -> None:
    assert f"## {package.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("name", ["README.md", "AGENTS.md", "CONTRIBUTING.md"])
def test_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", " ".join(re.findall(r"`[^`]*`", (ROOT / name).read_text()))))
    named |= {
        target for line in shell_lines((ROOT / name).read_text()) for target in re.findall(r"\bmake ([a-z-]+)", line)
    }
    assert named <= targets, named - targets
    assert named, "no target is named"


def test_the_rooms_of_agents_md_are_packages_and_all_of_them() -> None:
    rooms = set(re.findall(r"^\| `([a-z]+)`", (ROOT / "AGENTS.md").read_text(), re.MULTILINE))
    folder = Path(package.__file__).parent
    existing = {
        path.stem
        for path in folder.iterdir()
        if not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    assert rooms == existing


def test_the_floor_plan_of_the_package_names_modules() -> None:
    text = (package.__doc__ or "").partition("::")[2]
    rooms = re.findall(
        r"\b(?:cli|demo|aio|sdk|operations|workspaces|bases|runtimes|guest|wire|model|settings|process|paths|errors)\b",
        text,
    )
    assert len(set(rooms)) == 15
    for room in set(rooms):
        importlib.import_module(f"sandlot.{room}")
