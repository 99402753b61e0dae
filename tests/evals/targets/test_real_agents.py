"""The real clients from npm in real workspaces, against a scripted model on this machine."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sandlot.evals.outcomes import TargetAnswer
from sandlot.evals.targets import check_target, run_target
from sandlot.sdk import Sandlot
from tests.evals.subjects import case, target
from tests.hosts.clients import client
from tests.hosts.fake_model import DONE, NAME, FakeModel

pytestmark = pytest.mark.slow

COMMAND = "cat greeting.txt && echo made >made.txt"


def installed(program: str, folder: Path) -> str:
    """The program, in a folder of this test alone."""
    modules = Path(client(program)).parent.parent
    copy = folder / "clients" / "node_modules"
    shutil.copytree(modules, copy, symlinks=True, copy_function=os.link)
    return str(copy / ".bin" / program)


def turn(sandlot: Sandlot, project: Path, kind: str, program: str, served: FakeModel, **config: Any) -> TargetAnswer:
    (project / "greeting.txt").write_text("hello from the project\n")
    where = urlsplit(served.url)
    # The proxy reaches the host's loopback only because it is allowed in words.
    config["allow_private"] = [f"{where.hostname}:{where.port}"]
    key = {"env": "SANDLOT_TEST_KEY", "hosts": [f"http://{where.hostname}:{where.port}"]}
    secrets = {config.pop("key"): key} if "key" in config else {}
    spec = target(kind, project, binary=installed(program, project.parent), secrets=secrets, **config)
    with sandlot.create(project, **check_target(spec).create_words()) as workspace:
        found = run_target(spec, case("go"), workspace, timeout_s=100)
        if not found.error:
            assert [each.path for each in workspace.diff().files] == ["made.txt"]
    return found


def proven(found: TargetAnswer, tool: str) -> None:
    assert found.error == "", found.log
    assert found.text == DONE
    assert [each.name for each in found.tool_calls] == [tool]
    assert "hello from the project" in found.tool_calls[0].output
    assert (found.usage.input_tokens, found.usage.output_tokens) == (20, 10)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    return made


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDLOT_TEST_KEY", "sk-0123456789-of-the-operator")


def sees_no_proxy() -> dict[str, str]:
    """Clients must go through the proxy even for the loopback, which is the workspace's own otherwise."""
    return {"NO_PROXY": "", "no_proxy": ""}


def test_claude_code(sandlot: Sandlot, project: Path) -> None:
    with FakeModel([("Bash", {"command": COMMAND, "description": "x"})]).serve() as model:
        env = {"ANTHROPIC_BASE_URL": model.url, **sees_no_proxy()}
        found = turn(sandlot, project, "claude-code", "claude", model, env=env, key="ANTHROPIC_API_KEY")
    proven(found, "Bash")
    assert found.usage.cost_usd is not None


def test_codex(sandlot: Sandlot, project: Path) -> None:
    with FakeModel([("exec_command", {"cmd": COMMAND})]).serve() as model:
        provider = (
            f'model_providers.fake={{name="fake",base_url="{model.url}/v1",wire_api="responses",env_key="FAKE_KEY"}}'
        )
        found = turn(
            sandlot, project, "codex", "codex", model, env=sees_no_proxy(), key="FAKE_KEY", model=NAME,
            args=["-c", 'model_provider="fake"', "-c", provider],
        )  # fmt: skip
    proven(found, "shell")


def test_gemini_cli(sandlot: Sandlot, project: Path) -> None:
    with FakeModel([("run_shell_command", {"command": COMMAND})]).serve() as model:
        env = {"GOOGLE_GEMINI_BASE_URL": model.url, **sees_no_proxy()}
        found = turn(
            sandlot, project, "gemini-cli", "gemini", model, env=env, key="GEMINI_API_KEY", model="gemini-2.5-flash"
        )
    proven(found, "run_shell_command")


def test_opencode(sandlot: Sandlot, project: Path) -> None:
    with FakeModel([("bash", {"command": COMMAND, "description": "x"})]).serve() as model:
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": f"{model.url}/v1", "apiKey": "{env:FAKE_KEY}"},
            "models": {NAME: {"name": NAME, "tool_call": True, "limit": {"context": 100000, "output": 4000}}},
        }
        env = {"OPENCODE_CONFIG_CONTENT": json.dumps({"provider": {"fake": provider}}), **sees_no_proxy()}
        found = turn(sandlot, project, "opencode", "opencode", model, env=env, key="FAKE_KEY", model=f"fake/{NAME}")
    proven(found, "bash")
