"""``sandlot mcp serve``: options, mistakes, help."""

from __future__ import annotations

import pytest

from sandlot.modes import StartupMode
from tests.cli.conftest import Bare

MISTAKES = """
--mode frobnicate                       | 2 | there is no mode 'frobnicate'            | modes: repro-fix
--mode workspace-full                   | 2 | there is no mode 'workspace-full'        | modes: repro-fix
--profile frobnicate                    | 2 | there is no profile 'frobnicate'         | profiles: workspace-core
--profile inspect                       | 2 | there is no profile 'inspect'            | profiles: workspace-core
--mode ../answers/inspect               | 2 | there is no mode                         | modes: repro-fix
--mode inspect --profile workspace-full | 2 | exclude each other                       | leave one of them out
--mode inspect --project-path /no/such  | 3 | --project-path: /no/such is not a folder | name a folder
--mode inspect --export-dir /no/such    | 3 | --export-dir: /no/such is not a folder   | name a folder
--mode inspect --repo-ref v2            | 2 | --repo-ref needs --repo-url              |
--mode inspect --repo-url /usr          | 2 | is no URL of a repository                | --project-path
--project-path / --no-project-source    | 2 | exclude each other                       |
--mode inspect --port 80                | 2 | --port needs --http                      |
--mode inspect --token-file x           | 2 | --token-file needs --http                |
--http --port 70000                     | 2 | 70000 is no port                         |
--http --port 0 --token-file /no/such   | 2 | cannot read /no/such                     |
--frobnicate                            | 2 | unrecognized arguments: --frobnicate     | mcp serve --help
inspect                                 | 2 | unrecognized arguments: inspect          | mcp serve --help
--mode                                  | 2 | --mode needs a value                     | mcp serve --help
""".strip().splitlines()


@pytest.mark.parametrize("line", MISTAKES, ids=lambda line: line.split("|")[0].strip())
def test_a_mistake_is_told_before_a_client_waits(bare: Bare, line: str) -> None:
    words, status, message, hint = (part.strip() for part in line.split("|"))
    done = bare("mcp", "serve", *words.split())
    error = done.stderr.decode()
    assert (done.returncode, done.stdout) == (int(status), b""), error
    assert message in error
    assert hint in error
    assert "Traceback" not in error


@pytest.mark.parametrize("mode", [*StartupMode])
def test_every_mode_starts_and_ends_with_its_client(bare: Bare, mode: str) -> None:
    done = bare("mcp", "serve", "--mode", mode)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_help_names_every_mode_and_profile(bare: Bare) -> None:
    text = " ".join(bare("mcp", "serve", "--help").stdout.decode().split())
    for name in (*StartupMode, "workspace-core", "workspace-full"):
        assert name in text


def test_an_unknown_word_behind_mcp_is_answered(bare: Bare) -> None:
    done = bare("mcp", "start")
    assert done.returncode == 2
    assert b"unknown command 'start'" in done.stderr
