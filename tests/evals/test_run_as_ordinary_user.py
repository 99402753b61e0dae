"""Whole runs by somebody without privileges, through the real command line."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CompletedProcess

User = Callable[[Sequence[str]], CompletedProcess]

PROGRAM = r"""
import json, os, pathlib, subprocess, sys, tempfile
folder = tempfile.TemporaryDirectory()
home = pathlib.Path(folder.name, "project")
(home / ".sandlot").mkdir(parents=True)
(home / "template").mkdir()
(home / "evals").mkdir()
(home / "template" / "app.py").write_text("print(1)\n")
(home / ".sandlot" / "targets.yaml").write_text(
    "targets: [{name: default, kind: cli, command: 'id -u; cat app.py; echo \"print(2)\" > app.py; echo right'}]")
(home / "evals" / "one.yaml").write_text('''
name: one
workspace:
  template: ../template
  hooks:
    before_all: {command: 'echo installed > /workspace/installed'}
    before_each: {command: 'test -e /workspace/installed'}
assert:
  - {type: contains, value: right}
  - {type: command, command: 'grep -q "print(2)" app.py'}
tests:
  - {id: a, input: question}
  - {id: b, input: question}
''')

def sandlot(*words):
    done = subprocess.run([sys.executable, "-m", "sandlot", *words], cwd=home, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr

found = {"user": os.getuid()}
for mode in ("pooled", "pooled", "temp"):
    status, out, err = sandlot("eval", "run", "evals/", "--workspace-mode", mode, "--workers", "2", "--json")
    report = json.loads(out)
    found.setdefault("runs", []).append([mode, status, report["numbers"]["passed"], report["isolation"]["levels"]])
    reasons = [each["reason"] for each in report["trials"] if each["reason"]]
    found.setdefault("reasons", []).extend(reasons)
found["resume"] = sandlot("eval", "resume", "latest")[0]
found["refused"] = sandlot("eval", "run", "evals/", "--output", "/proc/run")[0]
listed = json.loads(sandlot("workspace", "list", "--json")[1])["workspaces"]
found["left"] = [each["labels"]["sandlot.eval.kind"] for each in listed]
found["template"] = (home / "template" / "app.py").read_text()
print(json.dumps(found))
"""


READERS = ("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions.py", "ruamel")
"""Packages that suites are read with."""


@pytest.fixture
def readers(ordinary_user: User) -> Iterator[str]:
    """A line that lets an ordinary user import them where our own are in somebody's private home."""
    check = "import os, pydantic, ruamel.yaml, sandlot.evals.suite_file"
    if ordinary_user(["-c", check]).returncode == 0:
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="sl-readers-") as folder:
        for name in READERS:
            found = next(Path(place) / name for place in sys.path if (Path(place) / name).exists())
            (shutil.copytree if found.is_dir() else shutil.copy)(found, Path(folder) / name)
        os.chmod(folder, 0o755)
        line = f"import os, sys; sys.path.append({folder!r}); os.environ['PYTHONPATH'] += ':' + {folder!r}\n"
        if ordinary_user(["-c", line + check]).returncode:
            pytest.skip("no interpreter that an ordinary user may run has the packages that suites are read with")
        yield line


def test_runs_need_no_privileges(ordinary_user: User, readers: str) -> None:
    done = ordinary_user(["-c", readers + PROGRAM])
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    assert found.pop("user") != 0
    assert found.pop("reasons") == []
    assert [(mode, status, passed, len(levels)) for mode, status, passed, levels in found.pop("runs")] == [
        ("pooled", 0, 2, 1),
        ("pooled", 0, 2, 1),
        ("temp", 0, 2, 1),
    ]
    assert found == {"resume": 0, "refused": 2, "left": ["pool"], "template": "print(1)\n"}
