"""The front: what a server answers before anybody calls a tool, and what it loads for that."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandlot.mcpserver import jsonrpc
from sandlot.mcpserver.answers import FOLDER, load
from sandlot.mcpserver.jsonrpc import Lines, Malformed, parse
from tests.conftest import SOURCE, clean_environment
from tests.mcpserver.rawclient import LEGACY, MODERN, envelope, raw_client

MODES = ["repro-fix", "inspect", "cold-start", "review-eval"]


def _script() -> Any:
    path = SOURCE.parent / "scripts" / "mcp_answers.py"
    spec = importlib.util.spec_from_file_location("mcp_answers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_prepared_is_what_the_sdk_answers() -> None:
    prepared = _script().prepared()
    assert {each.name for each in Path(FOLDER).iterdir()} == set(prepared)
    for name, text in prepared.items():
        assert (Path(FOLDER) / name).read_text() == text, f"{name}: run scripts/mcp_answers.py"


def _requests() -> bytes:
    """All that hosts send before their first call, in both eras."""
    client = {"name": "x", "version": "1"}
    messages: list[dict[str, Any]] = [
        {"id": "d", "method": "server/discover", "params": {"_meta": envelope()}},
        {"id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {"roots": {}}, "clientInfo": client}},
        {"method": "notifications/initialized"},
        *({"id": method, "method": method} for method in (
            "ping", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "logging/setLevel")),
        {"id": "m", "method": "tools/list", "params": {"_meta": {**envelope(), "progressToken": 1, "vendor/key": {}}}},
        {"id": "n", "method": "tools/list", "params": {"cursor": None}},
        {"id": "s", "method": "subscriptions/listen", "params": {"_meta": envelope(), "notifications": {}}},
        {"method": "notifications/cancelled", "params": {"requestId": 0}},
    ]  # fmt: skip
    return b"".join(json.dumps({"jsonrpc": "2.0", **each}).encode() + b"\n" for each in messages)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_heavy_is_loaded_before_the_first_call(state_dir: Path, mode: str) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", "-m", "sandlot", "mcp", "serve", "--mode", mode],
        input=_requests(), capture_output=True, env=clean_environment(state_dir), check=True, timeout=60,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 11  # every request, and no notification
    assert [each["id"] for each in answers if "error" in each] == ["logging/setLevel", "s"]
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.decode().splitlines() if "|" in line}
    tops = {name.partition(".")[0] for name in loaded}
    assert not tops & {
        "mcp", "mcp_types", "pydantic", "pydantic_core", "anyio", "starlette", "uvicorn", "httpx2", "asyncio",
        "sqlite3", "socket", "ssl", "logging", "concurrent", "subprocess", "tempfile", "hashlib", "http", "email",
    }  # fmt: skip
    assert {name for name in loaded if name.startswith("sandlot.operations")} <= {
        "sandlot.operations", "sandlot.operations.catalog", "sandlot.operations.operation",
    }  # fmt: skip
    assert not {name for name in loaded if name.startswith(("sandlot.workspaces", "sandlot.bases", "sandlot.sdk"))}


def test_an_idle_server_of_today_fits_in_twenty_megabytes(state_dir: Path) -> None:
    with raw_client(state_dir, "--mode", "review-eval") as client:
        client.handshake()
        client.ask("tools/list")
        status = Path(f"/proc/{client.process.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        assert peak <= 20 * 1024


@pytest.mark.parametrize("version", LEGACY)
def test_each_handshake_version_is_agreed_to(state_dir: Path, version: str) -> None:
    with raw_client(state_dir, "--mode", "inspect") as client:
        result = client.handshake(version)["result"]
        assert result["protocolVersion"] == version
        assert result["serverInfo"]["name"] == "sandlot"
        assert result["instructions"]


def test_an_unknown_version_ends_in_the_latest_of_the_handshake(state_dir: Path) -> None:
    with raw_client(state_dir, "--mode", "inspect") as client:
        assert client.handshake("2031-01-01")["result"]["protocolVersion"] == LEGACY[-1]


def test_both_eras_mix_on_one_pipe_before_and_after_the_first_call(state_dir: Path) -> None:
    with raw_client(state_dir, "--mode", "inspect") as client:
        assert client.ask_modern("server/discover")["result"]["supportedVersions"] == [MODERN]
        assert client.ask("initialize", {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"},
        })["result"]["protocolVersion"] == "2025-06-18"  # fmt: skip
        before = (
            client.ask("tools/list")["result"],
            client.ask_modern("tools/list")["result"],
        )  # not "initialized" yet
        assert client.ask("tools/call", {"name": "workspace_list"})["result"]["content"]
        client.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        modern = client.ask_modern("tools/call", {"name": "workspace_list", "arguments": {}})["result"]
        assert modern["resultType"] == "complete"
        assert (client.ask("tools/list")["result"], client.ask_modern("tools/list")["result"]) == before
        assert client.ask_modern("server/discover")["result"]["supportedVersions"] == [MODERN]
        assert client.ask_modern("ping")["error"]["code"] == -32601  # the modern era has none
        client.alive()
        assert client.handshake("2024-11-05")["result"]["protocolVersion"] == "2024-11-05"


def test_two_servers_send_the_same_bytes(state_dir: Path) -> None:
    lists = []
    for _ in range(2):
        with raw_client(state_dir, "--mode", "cold-start") as client:
            client.handshake()
            client.start("tools/list")
            lists.append(client.lines.get(timeout=30))
    assert lists[0] == lists[1]


def test_a_second_handshake_that_fails_leaves_the_first_as_it_is(state_dir: Path) -> None:
    with raw_client(state_dir, "--mode", "inspect") as client:
        client.handshake("2025-06-18")
        assert client.ask("initialize", {"protocolVersion": 7})["error"]["code"] == -32602  # hands over, too
        assert client.text("workspace_list") == "no workspaces"


def test_before_the_handshake_only_ping_is_answered(state_dir: Path) -> None:
    with raw_client(state_dir, "--mode", "inspect") as client:
        client.alive()
        assert client.ask("tools/list")["error"]["code"] == -32602  # as the SDK says
        assert client.handshake()["result"]


BAD_LINES: list[tuple[bytes, object, int]] = [
    (b"hello", None, -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping"', None, -32700),
    (b"\xff\xfe{}", None, -32700),
    (b'{"jsonrpc":"2.0","id":1e999,"method":"ping","params":{"x":NaN}}', None, -32700),
    (b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}', None, -32700),
    (b"[" * 100_000, None, -32700),
    (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', None, -32600),
    (b'"ping"', None, -32600),
    (b'{"jsonrpc":"2.0","id":' + b"9" * 400 + b',"method":"ping"}', None, -32600),
    (b'{"jsonrpc":"2.0","id":"' + b"x" * 2000 + b'","method":"ping"}', None, -32600),
    (b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', None, -32600),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', None, -32600),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', None, -32600),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', None, -32600),
    (b'{"jsonrpc":"1.0","id":5,"method":"ping"}', 5, -32600),
    (b'{"jsonrpc":"2.0","id":5}', 5, -32600),
    (b'{"jsonrpc":"2.0","id":5,"method":7}', 5, -32600),
    (b'{"jsonrpc":"2.0","id":5,"method":"ping","params":[1]}', 5, -32602),
]


def test_what_is_no_message_is_refused_and_the_server_stays_up(state_dir: Path) -> None:
    with raw_client(state_dir, "--mode", "inspect") as client:
        for handed_over in (False, True):
            if handed_over:
                client.handshake()
                client.text("workspace_list")
            for line, identity, code in BAD_LINES:
                client.write(line + b"\n")
                answer = client.next()
                assert (answer["id"], answer["error"]["code"]) == (identity, code), line[:80]
            client.write(b"\n  \n")
            client.alive()
            assert client.ask("no/such/method", {})["error"]["code"] in (-32601, -32602)
        client.send({"jsonrpc": "2.0", "method": "no/such/notification", "params": {"x": 1}})
        client.send({"jsonrpc": "2.0", "id": 99, "result": {"nobody": "asked"}})
        client.alive()


def test_a_modern_request_that_lacks_what_it_must_carry_is_refused_by_the_sdk(state_dir: Path) -> None:
    with raw_client(state_dir, "--mode", "inspect") as client:
        lacking = {key: value for key, value in envelope().items() if not key.endswith("clientCapabilities")}
        assert client.ask("tools/list", {"_meta": lacking})["error"]["code"] == -32602
        unknown = {**envelope(), "io.modelcontextprotocol/protocolVersion": "2031-01-01"}
        error = client.ask("tools/list", {"_meta": unknown})["error"]
        assert (error["code"], error["data"]["supported"]) == (-32022, [MODERN])


def test_a_message_beyond_all_bounds_is_thrown_away_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonrpc, "LONGEST_MESSAGE", 100_000)
    source, target = os.pipe()
    writer = threading.Thread(target=_write_all, args=(target, b"x" * 1_000_000 + b"\nok\n"))
    writer.start()
    lines = Lines(source)
    with pytest.raises(Malformed, match="longer than"):
        lines.next()
    assert len(lines._kept) <= 200_000
    assert lines.next() == b"ok"
    assert lines.next() is None
    writer.join()
    os.close(source)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.close(descriptor)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=40).filter(lambda each: b"\n" not in each), max_size=8), st.integers(1, 7))
def test_lines_are_the_same_however_they_arrive(lines: list[bytes], piece: int) -> None:
    source, target = os.pipe()
    reader = Lines(source)
    data = b"".join(line + b"\n" for line in lines)
    for start in range(0, len(data), piece):
        os.write(target, data[start : start + piece])
    os.close(target)
    assert [reader.next() for _ in lines] == lines
    assert reader.next() is None
    os.close(source)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_malformed(data: bytes) -> None:
    try:
        parse(data)
    except Malformed as error:
        json.loads(error.answer)


def test_a_surface_without_prepared_answers_is_served_by_the_sdk_alone() -> None:
    assert load("no-such-surface", read_only=False) is None
    assert load("../answers/inspect", read_only=False) is None


VALUES: list[Any] = [
    None, True, 0, -1, 1.5, 10**30, "", "x", "\ud800", "../..", "a" * 5000, [], {}, [[]], {"_meta": {}}, {"x": None},
]  # fmt: skip
METHODS = (
    "initialize", "tools/list", "tools/call", "ping", "prompts/get", "prompts/list", "resources/read", "resources/list",
    "server/discover", "notifications/initialized", "notifications/cancelled", "notifications/progress", "tasks/get",
    "completion/complete", "logging/setLevel", "subscriptions/listen", "", 7,
)  # fmt: skip
NAMES = (
    "name",
    "arguments",
    "uri",
    "cursor",
    "requestId",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "workspace",
)


def _mad_message(choose: random.Random) -> bytes:
    """Something like a message, and rarely one."""
    params = {choose.choice(NAMES): choose.choice(VALUES) for _ in range(3)}
    if choose.random() < 0.5:
        params["name"] = choose.choice(("workspace_list", "workspace_exec", "file_read", "nope", None))
    if choose.random() < 0.5:
        token = {"progressToken": choose.choice(VALUES)}
        params["_meta"] = choose.choice((envelope(), {**envelope(), **token}, token, 7))
    message = {"jsonrpc": "2.0", "id": choose.choice((choose.randint(10**6, 10**9), *VALUES[:6])),
               "method": choose.choice(METHODS), "params": params if choose.random() < 0.9 else 7}  # fmt: skip
    for key in list(message):
        if choose.random() < 0.05:
            del message[key]
    line = json.dumps(message).encode()
    if choose.random() < 0.1:
        line = line[: choose.randint(0, len(line))]
    return line + b"\n"


def test_no_message_brings_the_server_down(state_dir: Path) -> None:
    choose = random.Random(20261121)  # the same every time
    with raw_client(state_dir, "--mode", "inspect", "--no-project-source") as client:
        client.handshake()
        for _ in range(10):
            client.write(b"".join(_mad_message(choose) for _ in range(50)))
            client.alive()
        assert len(client.others) > 300
        assert not any("internal_error" in json.dumps(each) for each in client.others)
        assert b"Traceback" not in b"".join(client.errors)
