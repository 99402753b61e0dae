"""``sandlot eval run`` and its neighbours, as processes."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, CompletedProcess
from tests.evals.projects import many, marker, outcomes, processes_with, project, runs

REMOVED = (
    "--keep-workspaces", "--cleanup-workspaces", "--retain-on-success", "--retain-on-failure", "--pool-workspaces",
    "--no-pool",
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return project(tmp_path / "project")


def answer(done: CompletedProcess) -> Any:
    return json.loads(done.stdout)


def test_a_run_is_a_folder_with_a_manifest_and_a_file_for_each_trial(cli: Cli, home: Path) -> None:
    done = cli("eval", "run", "evals/", cwd=home)
    assert done.returncode == 1, done.stderr
    (run,) = runs(home)
    assert outcomes(run) == {
        "first/good/default/1": "pass",
        "first/also/default/1": "pass",
        "first/bad/default/1": "fail",
    }
    manifest = json.loads((run / "run.json").read_bytes())
    assert [plan["mode"] for plan in manifest["plans"].values()] == ["pooled"]
    assert [plan["provenance"]["mode"] for plan in manifest["plans"].values()] == ["default"]
    assert manifest["versions"]["sandlot"]
    (prepared,) = manifest["workspaces"]
    assert (prepared["plan"], prepared["suite"]) == (next(iter(manifest["plans"])), "first")
    assert prepared["fingerprint"]
    (level,) = manifest["isolation"]
    assert level == json.loads(cli("doctor", "--json").stdout)["runtimes"][0]["isolation"]
    trials = [json.loads(path.read_bytes()) for path in run.glob("trials/*/1.json")]
    assert {each["isolation"] for each in trials} == {level}
    assert json.loads((run / "sessions" / "1.end.json").read_bytes())["isolation"] == [level]
    (patch,) = run.glob("trials/*good*/1.patch")
    assert b"+42" in patch.read_bytes()
    assert (home / ".sandlot" / "runs" / ".gitignore").read_text() == "*\n"
    assert b"2/3 passed" in done.stdout
    assert b"[3/3]" in done.stderr


def test_the_gate_is_the_exit_status(cli: Cli, home: Path) -> None:
    def status(*words: str) -> int:
        return cli("eval", "run", "evals/", *words, cwd=home).returncode

    assert status("--filter", "good") == 0
    assert status("--min-pass-rate", "0.6") == 0
    assert status("--min-pass-rate", "70%") == 1
    assert status("--target", "broken") == 3
    assert status("--target", "broken", "--min-pass-rate", "0") == 3
    assert status("--budget-minutes", "0.000001") == 4


@pytest.mark.parametrize("option", REMOVED)
def test_the_flags_of_other_days_are_usage_errors(cli: Cli, home: Path, option: str) -> None:
    done = cli("eval", "run", "evals/", option, cwd=home)
    assert done.returncode == 2
    assert option.encode() in done.stderr
    assert b"--workspace-mode" in done.stderr
    assert not runs(home)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evals/", "--workspace-mode", "bogus"), b"bogus"),
        (("evals/", "--workspace-mode", "static"), b"path"),
        (("evals/", "--workspace-path", ".", "--workspace-mode", "temp"), b"--workspace-path"),
        (("evals/", "--shard", "4/3"), b"4/3"),
        (("evals/", "--trials", "0"), b"'0'"),
        (("evals/", "--workers", "none"), b"none"),
        (("evals/", "--min-pass-rate", "2"), b"'2'"),
        (("evals/", "--timeout", "soon"), b"soon"),
        (("evals/", "--filter", "goo"), b"did you mean 'good'"),
        (("evals/", "--tag", "hard"), b"hard"),
        (("evals/", "--target", "defualt"), b"did you mean 'default'"),
        (("evals/", "--max-regressions", "1"), b"--baseline"),
        (("evals/", "--baseline", "never"), b"never"),
        (("evals/", "--workspac", "temp"), b"--workspac"),
        (("nowhere/",), b"nowhere"),
        ((), b"PATH"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_a_usage_error_and_runs_nothing(
    cli: Cli, home: Path, words: tuple[str, ...], said: bytes
) -> None:
    done = cli("eval", "run", *words, cwd=home)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr
    assert b"\nhint: " in done.stderr
    assert b"Traceback" not in done.stderr
    assert not runs(home)


def test_a_dry_run_shows_the_trials_and_runs_nothing(cli: Cli, home: Path) -> None:
    done = cli("eval", "run", "evals/", "--dry-run", "--trials", "2", "--filter", "*o*d", cwd=home)
    assert done.returncode == 0
    assert b"first/good/default/1\nfirst/good/default/2\n" in done.stdout
    assert not runs(home)
    assert answer(cli("workspace", "list", "--json"))["workspaces"] == []


def test_explain_says_where_each_setting_comes_from(cli: Cli, home: Path) -> None:
    assert b"mode: pooled  (default)" in cli("eval", "run", "evals/", "--explain", cwd=home).stdout
    done = cli("eval", "run", "evals/", "--explain", "--workspace-mode", "temp", cwd=home)
    assert b"mode: temp  (--workspace-mode)" in done.stdout
    (home / "evals" / "first.yaml").write_text("workspace:\n  mode: temp\n" + many(1))
    assert b"first.yaml:2:" in cli("eval", "run", "evals/", "--explain", cwd=home).stdout
    assert not runs(home)


def test_trials_targets_and_tags_multiply_and_select(cli: Cli, home: Path) -> None:
    words = ("--target", "default", "--target", "command", "--trials", "2", "--filter", "good", "--json")
    done = answer(cli("eval", "run", "evals/", *words, cwd=home))
    assert {(row["target"], tuple(row["outcomes"])) for row in done["tests"]} == {
        ("default", ("pass", "pass")),
        ("command", ("pass", "pass")),
    }
    assert done["at_k"]["2"] == {"pass_at_k": 1.0, "pass_hat_k": 1.0}
    assert done["gate"]["status"] == 0


def test_each_trial_starts_clean(cli: Cli, home: Path) -> None:
    """The command appends to a file: with anything left of a trial before, a patch would show two lines."""
    cli("eval", "run", "evals/", "--target", "command", "--trials", "3", "--filter", "good", cwd=home)
    (run,) = runs(home)
    patches = [path.read_bytes() for path in run.glob("trials/*/1.patch")]
    assert len(patches) == 3
    assert len(set(patches)) == 1
    assert patches[0].count(b"+1\n") == 1


def test_nothing_stays_behind_but_the_prepared_base(cli: Cli, home: Path) -> None:
    cli("eval", "run", "evals/", "--target", "command", cwd=home)
    left = answer(cli("workspace", "list", "--json"))["workspaces"]
    assert [each["labels"]["sandlot.eval.kind"] for each in left] == ["pool"]
    cli("eval", "run", "evals/", "--workspace-mode", "temp", cwd=home)
    assert len(answer(cli("workspace", "list", "--json"))["workspaces"]) == 1


def test_a_folder_that_holds_something_is_no_output(cli: Cli, home: Path) -> None:
    done = cli("eval", "run", "evals/", "--output", "evals", cwd=home)
    assert done.returncode == 2
    assert b"not empty" in done.stderr


def test_a_resume_of_a_finished_run_runs_nothing(cli: Cli, home: Path) -> None:
    cli("eval", "run", "evals/", cwd=home)
    (run,) = runs(home)
    done = cli("eval", "resume", "latest", cwd=home)
    assert done.returncode == 1
    assert b"0 of 3 trials" in done.stderr
    assert len(list(run.glob("trials/*/*.json"))) == 3


def test_a_resume_runs_errors_again_when_asked(cli: Cli, home: Path) -> None:
    cli("eval", "run", "evals/", "--target", "broken", cwd=home)
    (run,) = runs(home)
    assert cli("eval", "resume", run.name[:-2], cwd=home).returncode == 3
    assert cli("eval", "resume", run.name, "--retry-errors", cwd=home).returncode == 3
    assert len(list(run.glob("trials/*/2.json"))) == 3


def test_a_resume_after_the_suite_has_changed_is_refused(cli: Cli, home: Path) -> None:
    cli("eval", "run", "evals/", "--budget-minutes", "0.000001", cwd=home)
    suite = home / "evals" / "first.yaml"
    suite.write_text("# a comment changes nothing\n" + suite.read_text())
    assert cli("eval", "resume", "latest", "--budget-minutes", "9", "--min-pass-rate", "0.5", cwd=home).returncode == 0
    suite.write_text(suite.read_text().replace("a question", "another"))
    done = cli("eval", "resume", "latest", cwd=home)
    assert done.returncode == 2
    assert b"has changed since the run began" in done.stderr


def test_reports_are_text_json_and_junit(cli: Cli, home: Path) -> None:
    cli("eval", "run", "evals/", cwd=home)
    assert b"FAIL    bad  [default]" in cli("eval", "report", "latest", cwd=home).stdout
    report = answer(cli("eval", "report", "latest", "--format", "json", cwd=home))
    assert report["numbers"]["passed"] == 2
    root = ElementTree.fromstring(cli("eval", "report", "latest", "--format", "junit", cwd=home).stdout)
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("skipped")) == ("3", "1", "0", "0")
    done = cli("eval", "report", "nothing", cwd=home)
    assert done.returncode == 2
    assert b"sandlot eval list" in done.stderr


def test_runs_are_listed_and_compared_and_regressions_are_a_gate(cli: Cli, home: Path) -> None:
    cli("eval", "run", "evals/", "--output", "before", cwd=home)
    listed = home / ".sandlot" / "targets.yaml"
    listed.write_text(listed.read_text().replace("also: {response: right}", "bad: {response: right}"))
    done = cli("eval", "run", "evals/", "--baseline", "./before", cwd=home)
    assert done.returncode == 1
    assert b"1 regressions, at most 0 allowed: first/also" in done.stderr
    assert cli("eval", "run", "evals/", "--baseline", "./before", "--max-regressions", "1", cwd=home).returncode == 0
    compared = answer(cli("eval", "compare", "./before", "latest", "--json", cwd=home))
    assert [each["test"] for each in compared["fixed"]] == ["bad"]
    assert [each["test"] for each in compared["regressed"]] == ["also"]
    assert compared["p_value"] == 1.0
    assert b"McNemar" in cli("eval", "compare", "./before", "latest", cwd=home).stdout
    found = answer(cli("eval", "list", "--json", cwd=home))["runs"]
    assert [(each["state"], each["numbers"]["passed"]) for each in found] == [("complete", 2), ("complete", 2)]


def test_a_target_out_of_time_is_a_timeout_and_its_tree_is_dead(cli: Cli, home: Path) -> None:
    words = ("--target", "slow", "--timeout", "300ms", "--filter", "good", "--json")
    done = cli("eval", "run", "evals/", *words, cwd=home)
    report = answer(done)
    assert [each["outcome"] for each in report["trials"]] == ["timeout"]
    assert done.returncode == 1
    assert not processes_with(marker(home))


def test_a_run_in_a_static_workspace_is_refused_for_targets_could_write_its_results(cli: Cli, home: Path) -> None:
    done = cli("eval", "run", "evals/", "--workspace-path", ".", cwd=home)
    assert done.returncode == 2
    assert b"lies in the static workspace" in done.stderr
    assert b"--output" in done.stderr
    assert not runs(home)
    words = ("--workspace-path", ".", "--output", "../elsewhere", "--target", "command", "--trials", "2")
    assert cli("eval", "run", "evals/", *words, "--min-pass-rate", "1", cwd=home).returncode == 0
    assert len(outcomes(home.parent / "elsewhere")) == 6
    assert (home / "made").read_text() == "1\n" * 6


def test_a_project_can_be_its_own_template_and_trials_see_nothing_of_its_runs(cli: Cli, home: Path) -> None:
    listed = home / ".sandlot" / "targets.yaml"
    listed.write_text("targets: [{name: default, kind: cli, command: 'echo right; ls -A .sandlot; ls -A evals'}]")
    suite = home / "evals" / "first.yaml"
    suite.write_text("workspace: {template: ..}\n" + suite.read_text())
    for _ in range(2):
        assert cli("eval", "run", "evals/", cwd=home).returncode == 0
    logs = {path.read_text() for run in runs(home) for path in run.glob("trials/*/1.log")}
    assert len(logs) == 1
    assert "targets.yaml" in (log := logs.pop())
    assert "runs" not in log
    first, second = (json.loads((run / "run.json").read_bytes())["workspaces"] for run in runs(home))
    assert first == second, "a run changed the template of the next"
