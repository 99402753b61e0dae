"""Agents as small programs that behave like the real ones: their command lines are recorded, their streams replayed.

The streams of four were recorded from the real clients against a scripted model; Copilot's follows its documentation.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from sandlot.errors import UsageError
from sandlot.evals.outcomes import TargetAnswer, Usage
from sandlot.evals.targets import check_target, run_target
from sandlot.evals.targets.agents.claude_code import ClaudeCode
from sandlot.evals.targets.replay import STREAMS as STREAM_KINDS
from sandlot.sdk import Sandlot
from tests.evals.subjects import case, target

STREAMS = Path(__file__).parent / "streams"
PROMPT = "--help; it's $HOME\n`id`\n"
AGENTS = {
    "claude-code": "claude",
    "codex": "codex",
    "opencode": "opencode",
    "gemini-cli": "gemini",
    "copilot-cli": "copilot",
}
CALLED = {
    "claude-code": "Bash",
    "codex": "shell",
    "opencode": "bash",
    "gemini-cli": "run_shell_command",
    "copilot-cli": "bash",
}
HEADLESS = {
    "claude-code": ["--print", "--verbose", "--output-format", "stream-json", "--dangerously-skip-permissions"],
    "codex": ["exec", "--dangerously-bypass-approvals-and-sandbox", "--skip-git-repo-check", "--json", "-"],
    "opencode": ["run", "--format=json", "--dangerously-skip-permissions"],
    "gemini-cli": ["--yolo", "--output-format", "stream-json"],
    "copilot-cli": [
        "--allow-all-tools",
        "--allow-all-paths",
        "--no-ask-user",
        "--output-format",
        "json",
        f"--prompt={PROMPT}",
    ],
}
FAKE = """#!/bin/sh
mkdir -p /tmp/seen && printf '%s\\0' "$@" >/tmp/seen/argv && cat >/tmp/seen/stdin && env >/tmp/seen/env
touch "$0" 2>/dev/null && exit 99
"""


@pytest.fixture
def programs() -> Iterator[Path]:
    """Where fake agents are installed."""
    folder = Path(tempfile.mkdtemp(prefix="sl-agents-"))
    yield folder
    shutil.rmtree(folder)


def install(programs: Path, kind: str, then: str = "") -> Path:
    path = programs / AGENTS[kind]
    stream = (STREAMS / f"{AGENTS[kind]}.jsonl").read_text()
    path.write_text(FAKE + (then or f"printf '%s' {shlex.quote(stream)}\n"))
    path.chmod(0o755)
    return path


class Seen:
    """What a fake agent was given."""

    argv: list[str]
    stdin: str
    env: dict[str, str]


def run(sandlot: Sandlot, kind: str, path: Path, **config: Any) -> tuple[TargetAnswer, Seen]:
    spec = target(kind, "/nowhere", binary=str(path), **config)
    with sandlot.create(**check_target(spec).create_words()) as workspace:
        found = run_target(spec, case(PROMPT), workspace)
        seen = Seen()
        seen.argv = workspace.files.read("/tmp/seen/argv").content.split("\0")[:-1]
        seen.stdin = workspace.files.read("/tmp/seen/stdin").content
        lines = workspace.files.read("/tmp/seen/env").content.splitlines()
        seen.env = dict(line.split("=", 1) for line in lines if "=" in line)
        assert workspace.diff().files == ()
        assert all("it's $HOME" not in word for each in workspace.logs().commands for word in each.argv)
    return found, seen


@pytest.mark.parametrize("kind", AGENTS)
def test_an_agent_runs_headless_and_its_stream_is_read(sandlot: Sandlot, programs: Path, kind: str) -> None:
    found, seen = run(sandlot, kind, install(programs, kind))
    assert found.error == ""
    assert found.text == "all calls are done"
    assert [each.name for each in found.tool_calls] == [CALLED[kind]]
    assert found.tool_calls[0].output.strip() == "hello file"
    assert "cat a.txt" in str(found.tool_calls[0].arguments)
    assert found.usage.output_tokens == 10
    assert seen.argv == HEADLESS[kind]
    assert seen.stdin == ("" if kind == "copilot-cli" else PROMPT)
    assert seen.env["HOME"] == "/home/agent"


@pytest.mark.parametrize("kind", AGENTS)
def test_a_model_and_more_arguments_go_before_the_prompt(sandlot: Sandlot, programs: Path, kind: str) -> None:
    _, seen = run(sandlot, kind, install(programs, kind), model="vendor/m-1", args=["--own", "x y"], env={"A": "b"})
    assert any("vendor/m-1" in word for word in seen.argv)
    assert seen.argv.index("x y") == seen.argv.index("--own") + 1
    assert seen.env["A"] == "b"


ERRORS = {
    "claude-code": '{"type":"result","subtype":"error_during_execution","is_error":true,"result":"credit is low"}',
    "codex": '{"type":"turn.failed","error":{"message":"credit is low"}}',
    "opencode": '{"type":"error","error":{"name":"APIError","data":{"message":"credit is low"}}}',
    "gemini-cli": '{"type":"result","status":"error","error":{"type":"x","message":"credit is low"}}',
    "copilot-cli": '{"type":"session.error","data":{"errorType":"quota","message":"credit is low"}}',
}


def read(kind: str, *lines: str) -> TargetAnswer:
    """What is made of a stream whose command exited with 0."""
    module, _, name = STREAM_KINDS[kind].rpartition(".")
    stream = getattr(import_module(f"sandlot.evals.targets.agents.{module}"), name)().stream()
    for line in lines:
        stream.feed(line)
    answer: TargetAnswer = stream.answer(1, "out of luck\n", "", False)
    return answer


@pytest.mark.parametrize("kind", AGENTS)
def test_an_error_event_is_an_error_although_the_exit_code_is_0(kind: str) -> None:
    assert read(kind, ERRORS[kind]).error == "the agent reported an error: credit is low"


@pytest.mark.parametrize("kind", AGENTS)
def test_a_stream_that_breaks_off_is_an_error(kind: str) -> None:
    first = (STREAMS / f"{AGENTS[kind]}.jsonl").read_text().splitlines()[0]
    assert read(kind, first).error == "the agent ended before its turn was over: out of luck"


def test_an_error_event_of_a_program_that_exits_with_0(sandlot: Sandlot, programs: Path) -> None:
    found, _ = run(
        sandlot, "opencode", install(programs, "opencode", f"echo {shlex.quote(ERRORS['opencode'])}; exit 0")
    )
    assert found.error == "the agent reported an error: credit is low"


def test_an_exit_code_is_an_error_and_lines_that_are_no_events_are_left_out(sandlot: Sandlot, programs: Path) -> None:
    then = "echo '{not json'; echo '[1]'; echo '{\"type\":3}'; printf '\\377\\n'; exit 4"
    found, _ = run(sandlot, "codex", install(programs, "codex", then))
    assert "exit status 4" in found.error


def test_a_fresh_home_has_what_an_agent_needs_and_keeps_what_is_there(sandlot: Sandlot, programs: Path) -> None:
    path = install(programs, "gemini-cli", "cat ~/.gemini/settings.json >&2; exit 1")
    found, _ = run(sandlot, "gemini-cli", path)
    assert "gemini-api-key" in found.log
    spec = target("gemini-cli", "/nowhere", binary=str(path))
    with sandlot.create(**check_target(spec).create_words()) as workspace:
        workspace.files.write("/home/agent/.gemini/settings.json", "of a hook")
        assert "of a hook" in run_target(spec, case(), workspace).log


def test_keys_come_as_secrets_bound_to_hosts(sandlot: Sandlot, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-real-value-of-the-operator")
    path = install(programs, "claude-code")
    needs = check_target(target("claude-code", "/nowhere", binary=str(path)))
    assert needs.secrets["ANTHROPIC_API_KEY"].hosts == ("api.anthropic.com",)
    assert needs.allow == ("api.anthropic.com",)
    _, seen = run(sandlot, "claude-code", path)
    assert seen.env["ANTHROPIC_API_KEY"]
    assert "sk-real-value" not in "".join(seen.env.values())


def test_without_its_program_nothing_is_tried(programs: Path) -> None:
    with pytest.raises(UsageError, match="was not found"):
        check_target(target("codex", programs, binary="./none"))


def test_no_folder_is_shown_that_holds_the_targets_file(programs: Path) -> None:
    path = install(programs, "codex")
    for folder in (programs, programs / "deeper"):
        with pytest.raises(UsageError, match="holds this targets file"):
            check_target(target("codex", folder, binary=str(path)))
    with pytest.raises(UsageError, match="holds this targets file"):
        check_target(target("cli", programs / ".sandlot", command="x", toolchains=[".."]))


def test_only_the_folder_of_the_program_is_shown(programs: Path) -> None:
    package = programs / "home" / "node_modules" / "@x" / "agent" / "bin" / "agent.js"
    package.parent.mkdir(parents=True)
    package.write_text("#!/usr/bin/env node\n")
    package.chmod(0o755)
    link = programs / "home" / "node_modules" / ".bin" / "codex"
    link.parent.mkdir()
    link.symlink_to("../@x/agent/bin/agent.js")
    needs = check_target(target("codex", "/nowhere", binary=str(link)))
    assert needs.toolchains[0] == str(programs / "home" / "node_modules")
    assert check_target(target("codex", binary="/usr/bin/env")).toolchains == ()


def test_whatever_a_target_says_can_be_written_down(sandlot: Sandlot, programs: Path) -> None:
    deep = '{"a":' * 300 + "1" + "}" * 300
    said = (
        '{"type":"assistant","message":{"content":[{"type":"text","text":"half \\ud800 pair"},'
        f'{{"type":"tool_use","id":"1","name":"T\\udfff","input":{deep}}},'
        '{"type":"tool_use","id":"2","name":"N","input":{"n":NaN,"i":Infinity}}]}}'
    )
    done = '{"type":"result","subtype":"success","result":"","usage":{"input_tokens":-5},"total_cost_usd":1e999}'
    path = install(programs, "claude-code", f"cat <<'END'\n{said}\n{done}\nEND\n")
    found, _ = run(sandlot, "claude-code", path)
    assert found.error == ""
    written = json.dumps(dataclasses.asdict(found), allow_nan=False, ensure_ascii=False).encode()
    assert b"nested too deeply" in written
    assert found.text == "half ? pair"
    assert (found.usage.input_tokens, found.usage.cost_usd) == (None, None)


def test_a_stream_without_end_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandlot.evals.targets.transcript.KEPT_CHARACTERS", 10_000)
    stream = ClaudeCode().stream()
    line = json.dumps({"type": "assistant", "message": {"content": [{"type": "text", "text": "x" * 1000}]}})
    for _ in range(100):
        stream.feed(line)
    stream.feed('{"type":"result","subtype":"success","result":"the end"}')
    found = stream.answer(1, "", "", False)
    assert (found.text, found.error) == ("the end", "")
    assert len(found.messages) < 12


USAGE = {
    "claude-code": (20, 10, 0.00028),
    "codex": (20, 10, None),
    "opencode": (20, 10, None),  # it knows no price of that model, and says 0
    "gemini-cli": (20, 10, None),
    "copilot-cli": (None, 10, None),
}


@pytest.mark.parametrize("kind", AGENTS)
def test_what_an_agent_used_is_what_its_stream_says_and_unknown_is_not_nothing(kind: str) -> None:
    used = read(kind, *(STREAMS / f"{AGENTS[kind]}.jsonl").read_text().splitlines()).usage
    given, got, cost = USAGE[kind]
    assert (used.input_tokens, used.output_tokens) == (given, got)
    assert used.cost_usd == (None if cost is None else pytest.approx(cost))


BARE = {
    "claude-code": '{"type":"result","subtype":"success","result":"x"}',
    "codex": '{"type":"turn.completed"}',
    "opencode": '{"type":"step_finish","part":{"reason":"stop"}}',
    "gemini-cli": '{"type":"result","status":"success"}',
    "copilot-cli": '{"type":"result","exitCode":0}',
}


@pytest.mark.parametrize("kind", AGENTS)
def test_what_a_stream_does_not_say_is_unknown(kind: str) -> None:
    found = read(kind, BARE[kind])
    assert found.error == ""
    assert found.usage == Usage(None, None, None)


def test_tokens_are_counted_with_caches_and_thoughts_and_each_once() -> None:
    claude = {"input_tokens": 3, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 100, "output_tokens": 7}
    assert usage("claude-code", {"type": "result", "usage": claude, "total_cost_usd": 0.5}) == Usage(123, 7, 0.5)
    # Of the thread so far, each time.
    turns = [{"type": "turn.completed", "usage": {"input_tokens": n, "output_tokens": n}} for n in (10, 25)]
    assert usage("codex", *turns) == Usage(25, 25, None)
    tokens = {"total": 145, "input": 10, "output": 5, "reasoning": 30, "cache": {"read": 60, "write": 40}}
    steps = [{"type": "step_finish", "part": {"reason": "stop", "tokens": tokens, "cost": 0.25}}] * 2
    assert usage("opencode", *steps) == Usage(220, 70, 0.5)
    stats = {"input_tokens": 50, "output_tokens": 5, "total_tokens": 85, "cached": 40}
    assert usage("gemini-cli", {"type": "result", "status": "success", "stats": stats}) == Usage(50, 35, None)


def usage(kind: str, *events: dict[str, Any]) -> Usage:
    return read(kind, *map(json.dumps, events)).usage


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("number", ["1" + "0" * 400, "1e999", "-1", "true", '"7"', "[7]", "null", "NaN"])
def test_numbers_that_are_none_are_unknown(kind: str, number: str) -> None:
    stream = (STREAMS / f"{AGENTS[kind]}.jsonl").read_text()
    for name in ("input_tokens", "output_tokens", "total_cost_usd", "input", "output", "outputTokens", "cost", "total"):
        stream = re.sub(rf'("{name}": ?)[0-9.e-]+', rf"\g<1>{number}", stream)
    found = read(kind, *stream.splitlines())
    assert found.error == ""
    assert found.usage.output_tokens is None
    assert found.usage.cost_usd is None


def test_drops_of_one_message_become_one_text() -> None:
    drop = '{"type":"message","role":"assistant","content":"ab","delta":true}'
    found = read("gemini-cli", *[drop] * 50_000, BARE["gemini-cli"])
    assert found.text == "ab" * 50_000
    assert [each["role"] for each in found.messages] == ["assistant"]


def test_after_more_events_than_are_kept_the_end_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandlot.evals.targets.transcript.MAX_EVENTS", 10)
    message = '{"type":"message","role":"assistant","content":"x"}'
    found = read("gemini-cli", *[message] * 30, BARE["gemini-cli"])
    assert (found.error, found.text) == ("", "x")
    assert len(found.messages) == 10
    assert read("gemini-cli", *[message] * 30, ERRORS["gemini-cli"]).error.endswith("credit is low")


@pytest.mark.parametrize("depth", [300, 900, 5_000, 200_000])
def test_an_event_without_a_bottom_breaks_nothing(depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    event = '{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"1","content":%s}]}}' % deep
    call = '{"type":"assistant","message":{"content":[{"type":"tool_use","id":"1","name":"T","input":{}}]}}'
    assert read("claude-code", call, event, BARE["claude-code"]).error == ""
