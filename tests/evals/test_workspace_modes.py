"""The workspace model, through YAML and the real command line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli
from tests.evals.places import repository
from tests.evals.projects import started
from tests.evals.test_leaks import LOOK, MESS

SUITE = """
name: clean
workspace:
  %s
  hooks:
    before_all: {command: [sh, ./hooks/setup.sh]}
    before_each: {command: "echo each >> /workspace/each; echo each >> ~/each; sleep 1000 & echo $! > /tmp/pid"}
    after_each: {command: ["true"], reset: fast}
execution: {target: messy, trials: 2, workers: 1}
tests:
  - id: one
    input: make a mess
    assert:
      - {type: command, command: "grep -q again repo/app.py && test -e beside.txt && test ! -e ~/.profile"}
"""
BUILDS = """
name: builds
workspace:
  template: ./template
  hooks: {before_all: {command: "cat /proc/sys/kernel/random/uuid > /workspace/id"}}
execution: {trials: 2}
assert: [{type: regex, value: "^[0-9a-f-]{36}"}]
tests: [{id: one, input: x}]
"""
MADE_OF = "template: ./template\n  repos: [{path: ./repo, source: {type: local, path: ../source}}]"


def project(folder: Path, workspace: str) -> Path:
    (folder / "evals/template").mkdir(parents=True)
    (folder / "evals/hooks").mkdir()
    (folder / ".sandlot").mkdir()
    (folder / "evals/template/template-file").write_text("of the template\n")
    (folder / "evals/hooks/setup.sh").write_text("mkdir -p /workspace/repo/build; echo installed > ~/.installed\n")
    repository(folder / "source")
    (folder / "evals/first.eval.yaml").write_text(SUITE % workspace)
    target = {"name": "messy", "kind": "cli", "command": ["/bin/sh", "-c", f"{{ {LOOK} }} 2>&1; {MESS}"]}
    (folder / ".sandlot/targets.yaml").write_text(json.dumps({"targets": [target]}))
    return folder


def trials(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob(".sandlot/runs/*/trials/*/*.json"))]


def run(cli: Cli, folder: Path, *words: str, status: int = 0) -> str:
    done = cli("eval", "run", "evals", *words, cwd=folder)
    assert done.returncode == status, done.stdout.decode() + done.stderr.decode()
    return (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("mode", ["pooled", "temp"])
def test_no_trial_sees_anything_of_another_one_or_of_the_run_before(cli: Cli, tmp_path: Path, mode: str) -> None:
    folder = project(tmp_path / "p", MADE_OF)
    for workers in ("1", "2"):  # one after the other, then next to each other
        run(cli, folder, "--workspace-mode", mode, "--workers", workers, "--trials", "2")
    found = trials(folder)
    assert [each["outcome"] for each in found] == ["pass"] * 4
    assert len({each["answer"]["text"] for each in found}) == 1
    assert "version = 3" not in found[0]["answer"]["text"]
    assert [each["warnings"] for each in found] == [[]] * 4
    assert "/workspace/each f 644 5" in found[0]["answer"]["text"]  # written once: by this trial's before_each
    assert len(json.loads(cli("workspace", "list", "--json").stdout)["workspaces"]) == (mode == "pooled")


def test_static_works_in_the_users_folder_and_leaves_their_git_alone(cli: Cli, tmp_path: Path) -> None:
    own = tmp_path / "own"
    repository(own / "repo")
    (own / "template-file").write_text("of the user\n")
    before = {path: path.read_bytes() for path in (own / "repo/.git").rglob("*") if path.is_file()}
    folder = project(tmp_path / "p", f"path: {own}")  # no mode: a path means static
    targets = folder / ".sandlot/targets.yaml"
    targets.write_text(targets.read_text().replace("mkdir ../evil;", "mkdir -p ../evil;"))
    run(cli, folder)
    assert [each["outcome"] for each in trials(folder)] == ["pass"] * 2
    for each in trials(folder):
        left, commits = each["warnings"]
        assert left == f"not brought back to {own}: template-file: a link that leads out of the folder"
        assert commits.startswith(f"commits, branches, tags or stashes made in {own}/repo stay outside")
    assert {path: path.read_bytes() for path in (own / "repo/.git").rglob("*") if path.is_file()} == before
    assert (own / "beside.txt").read_text() == "beside\n"
    assert (own / "template-file").read_text() == "of the user\n"
    assert json.loads(cli("workspace", "list", "--json").stdout)["workspaces"] == []


def test_static_fills_a_missing_folder_once_and_keeps_it(cli: Cli, tmp_path: Path) -> None:
    folder = project(tmp_path / "p", MADE_OF)
    (folder / ".sandlot/targets.yaml").write_text(
        'targets: [{name: messy, kind: cli, command: "echo again >> repo/app.py; echo x >> beside.txt"}]'
    )
    for _ in range(2):
        run(cli, folder, "--workspace-path", str(tmp_path / "own"))
    assert (tmp_path / "own/repo/app.py").read_text() == "version = 3\n" + "again\n" * 4
    assert (tmp_path / "own/template-file").exists()


def test_a_failed_clone_is_an_error_and_never_an_empty_repository_to_be_graded(cli: Cli, tmp_path: Path) -> None:
    folder = project(tmp_path / "p", MADE_OF.replace("../source}", "../source}, checkout: {ref: v9}"))
    said = run(cli, folder, status=3)
    assert "has no ref 'v9'" in said
    assert {(each["outcome"], each["stage"], bool(each["verdicts"])) for each in trials(folder)} == {
        ("error", "setup", False)
    }


@pytest.mark.parametrize(
    ("hook", "outcome"), [("before_all", "error"), ("before_each", "error"), ("after_each", "pass")]
)
def test_a_failing_hook_before_is_an_error_and_one_after_a_warning(
    cli: Cli, tmp_path: Path, hook: str, outcome: str
) -> None:
    folder = project(tmp_path / "p", MADE_OF)
    suite = folder / "evals/first.eval.yaml"
    good = suite.read_text()
    lines = [line for line in good.splitlines() if f"    {hook}:" not in line]
    at = lines.index("  hooks:") + 1
    suite.write_text("\n".join([*lines[:at], f"    {hook}: {{command: 'echo no database >&2; exit 7'}}", *lines[at:]]))
    run(cli, folder, status=3 if outcome == "error" else 0)
    found = trials(folder)
    assert [each["outcome"] for each in found] == [outcome] * 2
    said = [each["reason"] if outcome == "error" else each["warnings"][0] for each in found]
    assert all(f"{hook} exited with 7" in each for each in said)
    suite.write_text(good)
    run(cli, folder)


def test_repos_cannot_lie_outside_of_the_workspace(cli: Cli, tmp_path: Path) -> None:
    folder = project(tmp_path / "p", MADE_OF.replace("./repo", "../../out"))
    assert "../../out" in run(cli, folder, status=2)
    assert sorted(os.listdir(tmp_path)) == ["p"]


def test_runs_at_once_need_one_base_and_pruning_meanwhile_takes_nothing_away_from_them(
    cli: Cli, state_dir: Path, tmp_path: Path
) -> None:
    folder = project(tmp_path / "p", MADE_OF)
    (folder / "evals/first.eval.yaml").write_text(BUILDS)
    (folder / ".sandlot/targets.yaml").write_text("targets: [{name: default, kind: cli, command: cat id}]")
    with started(state_dir, folder, "run", "evals") as one, started(state_dir, folder, "run", "evals") as two:
        for _ in range(200):
            assert cli("pool", "list").returncode == 0
            assert cli("pool", "prune").returncode == 0
            if one.poll() is not None and two.poll() is not None:
                break
        told = [each.communicate(timeout=60) for each in (one, two)]
        assert [one.returncode, two.returncode] == [0, 0], told
    found = [(each["outcome"], each["warnings"]) for each in trials(folder)]
    assert found == [("pass", [])] * 4
    assert cli("pool", "prune").returncode == 0
    assert json.loads(cli("workspace", "list", "--json").stdout)["workspaces"] == []
    assert cli("pool", "list").stdout == b"no prepared workspaces\n"
