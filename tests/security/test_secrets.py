"""Case 11 and secrets: a workspace can use a value at the bound host, and nobody finds it anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandlot.errors import SecretNotFound
from sandlot.sdk import Sandlot
from tests.conftest import GUESTS, clean_environment

DRIVER = Path(__file__).parent / "drivers" / "secrets.py"


@pytest.fixture(params=["caller", "ordinary user"])
def report(request: pytest.FixtureRequest, state_dir: Path) -> dict[str, Any]:
    """What the driver has seen, as whoever runs the tests and as an ordinary user."""
    words = ["-c", DRIVER.read_text()]
    if request.param == "caller":
        done = subprocess.run(
            [sys.executable, *words], env=clean_environment(state_dir), capture_output=True, timeout=120, check=False
        )
    elif os.getuid() != 0:
        pytest.skip("the caller is an ordinary user already")
    else:
        done = request.getfixturevalue("ordinary_user")(words)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    assert b"canary-" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_value_reaches_the_bound_host_alone_and_is_found_nowhere_else(report: dict[str, Any]) -> None:
    heard = report["heard"]
    for name in ("secure", "plain"):
        asked = {each["request"]: each for each in heard[name]}
        assert asked["/curl"]["carried"] == 2
        assert asked["/curl"]["basic"]
        assert not asked["/curl"]["placeholder"]
        assert asked["/python"]["carried"] == 1
        assert asked["/away"]["carried"] == 2
        assert "/forged" not in asked
        assert (asked["/stolen"]["carried"], asked["/stolen"]["placeholder"]) == (0, True)
        assert asked["/stolen"]["other"], "the other workspace's own secret was not put in"
    asked = {each["request"]: each for each in heard["plain"]}
    assert (asked["/lookalike"]["carried"], asked["/lookalike"]["placeholder"]) == (0, True)
    assert (asked["/body"]["carried"], asked["/body"]["placeholder"]) == (1, True)  # in its header, not in its body
    for name in ("secure_other", "plain_other"):
        asked = {each["request"]: each for each in heard[name]}
        assert asked["/arrived"]["placeholder"], "the redirect was not followed"
        assert asked["/curl"]["placeholder"]
        assert not any(each["carried"] or each["basic"] for each in heard[name])
    assert not report["warnings"]
    assert not report["told"]
    assert report["told a placeholder"], "looked in the wrong place"
    assert not report["repeated"]
    assert report["found inside"] == "[]"
    shown = report["shown by processes"]  # the one command that was given it, whoever may look into that
    assert [each for each in shown if "sleep" not in each] == []
    assert report["gateway"][0] == "core 0 0"
    if not report["root"]:  # nothing is closed to root
        assert report["gateway"] == ["core 0 0"]
    assert report["files meanwhile"] == [f"workspaces/{report['ids'][0]}/secrets.json"]
    assert report["cores"] == (["0"] if GUESTS else ["1", "1", "0"])  # in a guest nobody may have any
    assert sorted(report["files"]) == sorted(f"workspaces/{each}/secrets.json" for each in report["ids"])
    assert report["files afterwards"] == []


def test_another_workspace_gains_nothing_from_a_placeholder(sandlot: Sandlot) -> None:
    from sandlot import Secret

    first = sandlot.create(secrets={"API_KEY": Secret(value="value-0123456789", hosts=("api.example.com",))})
    second = sandlot.create()
    assert second.exec(["printenv", "API_KEY"]).exit_status == 1
    with pytest.raises(SecretNotFound):
        second.exec(["true"], reveal=["API_KEY"])
    assert first.secrets.list()[0].placeholder not in second.exec("env; cat /etc/sandlot/* 2>&1").stdout.text
