"""Attacks: programs that run inside a workspace, once for whoever runs the tests and once for an ordinary user."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandlot.bases.trees import remove_tree
from tests.conftest import GUESTS, CompletedProcess, clean_environment

ATTACKS = Path(__file__).parent / "attacks"

DRIVER = """
import json, os, sys
plan = json.loads(sys.argv[1])
os.environ.update(plan["environment"])
from sandlot.sdk import Sandlot
with Sandlot() as made, made.create() as sibling, made.create(**plan["create"]) as workspace:
    sibling.exec(["tee", "secret", "/tmp/secret", "/home/agent/secret"], stdin=plan["token"].encode())
    names = {"{state}": str(made._context.paths.state), "{sibling}": sibling.id, "{own}": workspace.id}
    if workspace.info.runtime == "qemu":
        python = "python3"
    else:
        from sandlot.runtimes.bubblewrap.interpreter import stage
        python = stage(made._context.paths).executable
    words = [names.get(word, word) for word in plan["arguments"]]
    done = workspace.exec([python, "-I", "-c", plan["source"], *words], timeout=100, max_output=1 << 20)
    sys.stdout.write(done.stdout.text)
    sys.stderr.write(done.stderr.text)
    sys.exit(done.exit_status)
"""


class Attacker:
    """Runs an attack in a workspace beside which there is a sibling full of ``token``."""

    def __init__(self, run: Callable[[Sequence[str]], CompletedProcess]) -> None:
        self._run = run
        self.token = "canary" + secrets.token_hex(12)

    def __call__(
        self,
        name: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        create: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """What the program ``attacks/NAME.py`` reports; ``{state}`` and ``{sibling}`` are filled in."""
        plan = {
            "source": (ATTACKS / f"{name}.py").read_text(),
            "arguments": arguments,
            "environment": dict(environment or {}),
            "token": self.token,
            "create": dict(create or {}),
        }
        done = self._run(["-c", DRIVER, json.dumps(plan)])
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        report: dict[str, Any] = json.loads(done.stdout)
        return report


@pytest.fixture(params=["caller", "ordinary user"])
def attacker(request: pytest.FixtureRequest, state_dir: Path) -> Attacker:
    if request.param == "caller":
        environment = clean_environment(state_dir)

        def run(arguments: Sequence[str]) -> CompletedProcess:
            return subprocess.run(
                [sys.executable, *arguments], env=environment, capture_output=True, timeout=120, check=False
            )

        return Attacker(run)
    if os.getuid() != 0:
        pytest.skip("the caller is an ordinary user already")
    if GUESTS:
        pytest.skip("what guests are made from takes minutes for each user: run the tests as an ordinary user instead")
    return Attacker(request.getfixturevalue("ordinary_user"))


def contents(root: Path) -> bytes:
    """All that is written in the files below a folder; a guest's disk is as good as empty, and long."""
    found = []
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with open(path, "rb") as file:
                end = os.fstat(file.fileno()).st_size
                at = 0
                while at < end:
                    try:
                        at = os.lseek(file.fileno(), at, os.SEEK_DATA)
                    except OSError:  # nothing but a hole
                        break
                    hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
                    found.append(os.pread(file.fileno(), hole - at, at))
                    at = hole
    return b"".join(found)


@pytest.fixture
def host_folder() -> Iterator[Path]:
    """A folder of the host that everybody may read and write: what keeps a workspace out is isolation alone."""
    folder = Path(tempfile.mkdtemp(prefix="sl-host-"))
    folder.chmod(0o777)
    yield folder
    remove_tree(folder)
