"""One scripted turn of each real client: connected by us, it calls our tools, and its model sees what they answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.modes import StartupMode, surface
from tests.hosts.clients import Scratch, client, text
from tests.hosts.fake_model import DONE, NAME, FakeModel
from tests.hosts.test_real_clients import scratch as scratch

pytestmark = pytest.mark.slow

CALLS = [
    ("workspace_create", {"name": "turn"}),
    ("workspace_exec", {"workspace": "turn", "command": "cat greeting.txt && echo sum=$((40+2))"}),
    ("diff", {"workspace": "turn"}),
]


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel([*CALLS]).serve() as served:
        yield served


@pytest.fixture(autouse=True)
def _project(scratch: Scratch) -> Iterator[None]:
    (scratch.project / "greeting.txt").write_text("hello from the project\n")
    yield
    scratch.sandlot("workspace", "delete", "--all")


def connect(scratch: Scratch, host: str, *more: str) -> None:
    done = scratch.sandlot("host", "connect", host, "--mode", "repro-fix", *more)
    assert done.returncode == 0, text(done)


def proven(model: FakeModel, said: str) -> None:
    """The model was offered the tools of the mode, called three, and saw what each of them answered."""
    offered = [
        name for name in model.tools_offered() if name.endswith(("workspace_create", "patch_apply", "shell_open"))
    ]
    assert len(offered) == 2, (model.tools_offered(), said)  # no shells in repro-fix
    told = json.dumps(surface(StartupMode.REPRO_FIX).instructions[:200])[1:-1]
    assert any(told in json.dumps(body) for _, body in model.requests), "the instructions did not reach the model"
    results = model.tool_results()
    print("\nwhat the model saw:", *results, sep="\n  ")  # pytest -s shows it
    assert len(results) == len(CALLS), (results, said)
    assert "turn" in results[0]
    assert "hello from the project" in results[1]
    assert "sum=42" in results[1]


def test_a_turn_of_claude_code(scratch: Scratch, model: FakeModel) -> None:
    connect(scratch, "claude-code", "--allow", "all")
    done = scratch.run(
        client("claude"), "-p", "go", "--output-format", "json",
        ANTHROPIC_BASE_URL=model.url, ANTHROPIC_API_KEY="dummy",
    )  # fmt: skip
    said = text(done)
    assert DONE in said, said
    proven(model, said)


def test_claude_code_refuses_what_nobody_allowed(scratch: Scratch, model: FakeModel) -> None:
    connect(scratch, "claude-code", "--allow", "read-only")
    scratch.run(client("claude"), "-p", "go", ANTHROPIC_BASE_URL=model.url, ANTHROPIC_API_KEY="dummy")
    assert "granted" in model.tool_results()[0]
    assert scratch.sandlot("workspace", "list", "--json").stdout.count(b'"id"') == 0


def codex_with(model: FakeModel, scratch: Scratch) -> None:
    config = scratch.home / ".codex" / "config.toml"
    config.parent.mkdir()
    config.write_text(
        f'model_provider = "fake"\nmodel = "{NAME}"\n\n[model_providers.fake]\nname = "fake"\n'
        f'base_url = "{model.url}/v1"\nwire_api = "responses"\nenv_key = "FAKE_KEY"\n'
    )


def test_a_turn_of_codex(scratch: Scratch, model: FakeModel) -> None:
    codex_with(model, scratch)
    connect(scratch, "codex", "--allow", "all")
    done = scratch.run(client("codex"), "exec", "--skip-git-repo-check", "--json", "go", FAKE_KEY="x")
    said = text(done)
    assert DONE in said, said
    proven(model, said)


def test_codex_refuses_what_nobody_allowed(scratch: Scratch) -> None:
    """By itself it asks about tools that may destroy something, and lets others run: it reads our annotations."""
    calls = [
        ("workspace_create", {"name": "turn"}),
        ("workspace_list", {}),
        ("workspace_delete", {"workspace": "turn"}),
    ]
    with FakeModel([*calls]).serve() as model:
        codex_with(model, scratch)
        connect(scratch, "codex", "--allow", "read-only")
        scratch.run(client("codex"), "exec", "--skip-git-repo-check", "--json", "go", FAKE_KEY="x")
        _, listed, deleted = model.tool_results()
    assert "turn" in listed
    assert "approval" in deleted
    assert scratch.sandlot("workspace", "list", "--json").stdout.count(b'"id"') == 1


def test_a_turn_of_opencode(scratch: Scratch, model: FakeModel) -> None:
    config = scratch.home / ".config" / "opencode" / "opencode.json"
    config.parent.mkdir(parents=True)
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{model.url}/v1", "apiKey": "x"},
        "models": {NAME: {"name": NAME, "tool_call": True, "limit": {"context": 100000, "output": 4000}}},
    }
    config.write_text(json.dumps({"provider": {"fake": provider}, "model": f"fake/{NAME}"}, indent=2))
    connect(scratch, "opencode")
    said = text(scratch.run(client("opencode"), "run", "go"))
    assert DONE in said, said
    proven(model, said)


def test_a_turn_of_gemini(scratch: Scratch, model: FakeModel) -> None:
    settings = scratch.home / ".gemini" / "settings.json"
    settings.write_text(json.dumps({"security": {"auth": {"selectedType": "gemini-api-key"}}}))
    connect(scratch, "gemini-cli", "--allow", "all")
    said = text(
        scratch.run(
            client("gemini"), "-m", "gemini-2.5-flash", "-p", "go",
            GEMINI_API_KEY="dummy", GOOGLE_GEMINI_BASE_URL=model.url,
        )
    )  # fmt: skip
    assert DONE in said, said
    proven(model, said)
    assert all("untrusted_context" in each for each in model.tool_results())


def test_without_a_folder_there_are_no_clients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SANDLOT_CLIENTS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="make hosts"):
        client("claude")
