"""A host's disk that is full: the guest hears of it and goes on as well as it can, and what was safe stays so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from smokes.scene import share_guests

from tests.conftest import clean_environment
from tests.runtimes.qemu.guests import NEEDS_QEMU

pytestmark = [
    NEEDS_QEMU, pytest.mark.slow, pytest.mark.xdist_group("guests"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a small file system needs root to be mounted"),
]  # fmt: skip

FULL = """
import json, os, subprocess, sys
from sandlot.sdk import Sandlot
state = sys.argv[1]
with Sandlot(state) as made:
    made.create().delete()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "small", state + "/workspaces"], check=True)
    with open(state + "/workspaces/ballast", "wb") as file:
        file.write(bytes(30 << 20))
    workspace = made.create()
    workspace.exec("echo kept > kept; sync")
    filled = workspace.exec("head -c 100M /dev/urandom > fill; sync; echo tried", timeout=100)
    os.unlink(state + "/workspaces/ballast")
    told = {"filled": filled.command.state.value, "answers": workspace.exec("true", timeout=100).command.state.value}
    workspace.stop()
    told["kept"] = workspace.exec("cat kept").stdout.text
    told["works"] = workspace.exec("rm -f fill; sync; echo more > more; cat more").stdout.text
    workspace.stop()
print(json.dumps(told))
"""


def test_a_full_disk_of_the_host_stops_no_guest(state_dir: Path) -> None:
    if not (state_dir / "cache" / "guests").exists():
        share_guests(state_dir)
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")  # nobody outlives the script
    environment = {**clean_environment(state_dir), "SANDLOT_RUNTIME": "qemu"}
    ran = subprocess.run(
        [*alone, sys.executable, "-c", FULL, str(state_dir)],
        env=environment,
        capture_output=True,
        timeout=500,
        check=False,
    )
    if b"unshare" in ran.stderr or b"mount:" in ran.stderr:
        pytest.skip("nothing can be mounted here")
    assert ran.returncode == 0, ran.stderr.decode()[-3000:]
    told = json.loads(ran.stdout)
    assert told["kept"] == "kept\n"
    assert told["works"] == "more\n"
    assert {told["filled"], told["answers"]} <= {"exited", "signaled"}
