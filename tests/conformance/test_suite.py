"""The official conformance suite, for both of its requirement sets, over HTTP: it knows no other way in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sandlot.sdk import Sandlot
from tests.conformance.clients import CONFORMANCE, INSTALLED, NODE, WHY_NOT
from tests.conftest import clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not INSTALLED, reason=WHY_NOT)]
HERE = Path(__file__).parent
TOKEN = "the-token-of-the-conformance-suite"
MUST_PASS = {
    "2026-07-28": {
        "caching", "dns-rebinding-protection", "http-header-validation", "prompts-list", "resources-list",
        "sep-2164-resource-not-found", "server-sse-multiple-streams", "tools-list",
    },
    "2025-11-25": {
        "dns-rebinding-protection", "ping", "prompts-list", "resources-list", "server-initialize",
        "server-session-lifecycle", "server-sse-multiple-streams", "tools-list",
    },
}  # fmt: skip
"""Scenarios without a single failed check, whatever else the suite learns."""


def _run(url: str, revision: str, out: Path) -> str:
    command = [NODE, "--require", HERE / "token.cjs", CONFORMANCE, "server", "--url", url]
    environment = {**os.environ, "SANDLOT_TOKEN": TOKEN}
    done = subprocess.run(
        [*map(str, command), "--requirements", revision, "-o", str(out)],
        env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert "=== SUMMARY ===" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def _checks(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Scenario -> its checks."""
    found = {}
    for folder in sorted(out.iterdir()):
        name = re.sub(r"^server-|-\d{4}-\d\d-\d\dT.*$", "", folder.name)
        found[name] = json.loads((folder / "checks.json").read_text())
    return found


@pytest.mark.parametrize("revision", MUST_PASS)
def test_all_that_applies_is_met(sandlot: Sandlot, state_dir: Path, tmp_path: Path, revision: str) -> None:
    token = state_dir / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    command = [
        sys.executable,
        "-m",
        "sandlot",
        "mcp",
        "serve",
        "--mode",
        "repro-fix",
        "--http",
        "--port",
        "0",
        "--no-project-source",
    ]
    with subprocess.Popen(
        [*command, "--token-file", str(token)], stderr=subprocess.PIPE, text=True, env=clean_environment(state_dir)
    ) as server:
        try:
            assert server.stderr is not None
            print(_run(server.stderr.readline().split()[-1], revision, tmp_path).split("=== SUMMARY ===")[1])
        finally:
            server.terminate()
    checks = _checks(tmp_path)
    failed = {each["id"]: str(each.get("errorMessage")) for one in checks.values() for each in one
              if each["status"] == "FAILURE"}  # fmt: skip
    groups = tomllib.loads((HERE / "not_applicable.toml").read_text())
    listed = {name: group["says"] for group in groups.values() for name in group[revision]}
    assert set(failed) == set(listed), "see tests/conformance/not_applicable.toml"
    for name, message in failed.items():
        assert re.search(listed[name], message), f"{name} fails for another reason: {message}"
    for scenario in MUST_PASS[revision]:
        assert {each["status"] for each in checks[scenario]} <= {"SUCCESS", "INFO", "SKIPPED"}, scenario
        assert any(each["status"] == "SUCCESS" for each in checks[scenario]), scenario


def test_every_check_that_does_not_apply_has_a_reason() -> None:
    for name, group in tomllib.loads((HERE / "not_applicable.toml").read_text()).items():
        assert len(group["why"]) > 40, name
        for revision in MUST_PASS:
            assert group[revision] == sorted(set(group[revision]))
