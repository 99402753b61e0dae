"""A folder to write suites into, with a target, and both ways to check them: in process and by the command line."""

from __future__ import annotations

import json
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sandlot.bases.trees import remove_tree
from sandlot.errors import SuiteInvalid
from sandlot.evals.cases import Suite, WorkspacePlan
from sandlot.evals.load import load_suites
from sandlot.evals.resolve import WorkspaceOptions
from tests.conftest import clean_environment
from tests.evals.suites.commands import Commands, Done

TEST = "tests: [{id: one, input: hello, assert: [{type: contains, value: hello}]}]\n"
"""The smallest test there is, for suites whose point is something else."""
TARGETS = "targets: [{name: mock, kind: mock, response: hello}]\n"


class Suites:
    """The folder."""

    def __init__(self, folder: Path, state: Path, commands: Commands) -> None:
        self.commands = commands
        self.folder = folder
        self.state = state
        self.write(".sandlot/targets.yaml", TARGETS)

    def write(self, name: str, text: str) -> Path:
        """A file in it; indentation that all lines share is taken away."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def load(
        self,
        text: str,
        *,
        name: str = "s.eval.yaml",
        mode: str | None = None,
        path: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Suite:
        """Write a suite and load it."""
        file = self.write(name, text)
        (suite,) = load_suites([file], WorkspaceOptions(mode, path), environ=environ or {})
        return suite

    def plan(self, workspace: str, *, mode: str | None = None, path: str | None = None) -> WorkspacePlan:
        """The plan of a suite with this workspace."""
        return self.load(f"workspace: {workspace}\n" + TEST, mode=mode, path=path).tests[0].workspace

    def refused(self, text: str, **options: Any) -> SuiteInvalid:
        """The error that loading a suite gives."""
        with pytest.raises(SuiteInvalid) as caught:
            self.load(text, **options)
        return caught.value

    def run(self, *words: str, environ: Mapping[str, str] | None = None) -> Done:
        """``sandlot eval WORDS``, in the folder."""
        surroundings = {**clean_environment(self.state), **(environ or {})}
        return self.commands.run(["eval", *words], self.folder, surroundings)

    def both_refuse(self, text: str, *options: str) -> str:
        """What validate and run say about a suite on stderr; they say the same, exit with 2, and nothing was run."""
        self.write("s.eval.yaml", text)
        validated = self.run("validate", "s.eval.yaml", *options)
        ran = self.run("run", "s.eval.yaml", *options)
        assert (validated.returncode, ran.returncode) == (2, 2), (validated, ran)
        assert validated.stderr == ran.stderr
        assert "Traceback" not in validated.stderr
        assert self.manifests() == []
        return validated.stderr

    def manifests(self) -> list[dict[str, Any]]:
        """``run.json`` of every run, the first one first."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob(".sandlot/runs/*/run.json"))]

    def workspaces(self) -> list[dict[str, Any]]:
        """All that there are."""
        done = self.commands.run(["workspace", "list", "--json"], self.folder, clean_environment(self.state))
        return list(json.loads(done.stdout)["workspaces"])

    def pooled(self) -> int:
        """How many prepared bases there are; fails when there is any other workspace."""
        kinds = [each["labels"].get("sandlot.eval.kind") for each in self.workspaces()]
        assert set(kinds) <= {"pool"}, kinds
        return len(kinds)

    def ran(self, text: str, *options: str) -> dict[str, Any]:
        """The workspace plan in ``run.json`` after ``eval run`` has run a suite for real, and passed."""
        self.write("s.eval.yaml", text)
        done = self.run("run", "s.eval.yaml", *options)
        assert done.returncode == 0, done
        (plan,) = self.manifests()[-1]["plans"].values()
        assert isinstance(plan, dict)
        return plan

    def explained(self, text: str, *options: str) -> dict[str, tuple[Any, str]]:
        """Name -> (value, origin) of the workspace settings as ``eval run --explain`` tells them."""
        self.write("s.eval.yaml", text)
        ran = self.run("run", "s.eval.yaml", "--explain", "--json", *options)
        assert ran.returncode == 0, ran
        (workspace,) = json.loads(ran.stdout)["workspaces"]
        return {each["name"]: (each["value"], each["from"]) for each in workspace["settings"]}


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    """The command line, loaded."""
    folder = Path(tempfile.mkdtemp(prefix="sl-"))
    with Commands(clean_environment(folder)) as made:
        yield made
    remove_tree(folder)


@pytest.fixture
def suites(state_dir: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Iterator[Suites]:
    """An empty folder with one target; the current folder of the test."""
    folder = Path(tempfile.mkdtemp(prefix="sl-suites-"))
    monkeypatch.chdir(folder)
    yield Suites(folder, state_dir, commands)
    remove_tree(folder)
