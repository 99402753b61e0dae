"""Case 3: files that are none, or are too much, neither hang nor fill us; names cannot command a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sandlot.errors import SandlotError
from sandlot.sdk import Sandlot, Workspace
from tests.conftest import GUESTS, Cli, clean_environment

MANY = int(os.environ.get("SANDLOT_TEST_FILES", "3000"))
DEEP = 4000

PLANT = """
import os, socket, sys
os.mkfifo("fifo")
listener = socket.socket(socket.AF_UNIX); listener.bind("socket")
with open("sparse", "wb") as file:
    file.truncate(1 << 40)
os.mkdir("many")
for number in range(int(sys.argv[1])):
    open("many/%d" % number, "w").close()
os.mkdir("deep"); os.chdir("deep")
for _ in range(int(sys.argv[2])):
    os.mkdir("d"); os.chdir("d")
open("end", "w").close()
"""

OPERATIONS = """
import json, sys
from sandlot.errors import SandlotError
from sandlot.sdk import Sandlot
state, ident, target = sys.argv[1:]
results = {}
with Sandlot(state) as made:
    workspace = made.get(ident)
    def attempt(name, action):
        try:
            action()
            results[name] = "done"
        except SandlotError as error:
            results[name] = error.code
    attempt("list", lambda: workspace.files.list(recursive=True, limit=100))
    attempt("search", lambda: workspace.files.search("needle", include_ignored=True))
    for name in ("fifo", "socket", "many", "deep"):
        attempt("read " + name, lambda: workspace.files.read(name))
    attempt("read sparse", lambda: workspace.files.read("sparse", offset=1 << 39, max_bytes=10))
    attempt("diff", lambda: workspace.diff(stat=True))
    attempt("summary", lambda: workspace.summary())
    attempt("export many", lambda: workspace.export("many", target + "/many"))
    attempt("export deep", lambda: workspace.export("deep", target + "/deep"))
    attempt("export fifo", lambda: workspace.export("fifo", target + "/fifo"))
    attempt("export sparse", lambda: workspace.export("sparse", target + "/sparse"))
    attempt("delete deep", lambda: workspace.files.delete("deep", recursive=True))
    attempt("snapshot", lambda: workspace.snapshots.create("odd"))
    attempt("fork", lambda: workspace.fork()[0].delete())
    attempt("reset", lambda: workspace.reset("odd"))
    attempt("write fifo", lambda: workspace.files.write("fifo", "x"))
    attempt("delete", lambda: workspace.delete())
print(json.dumps(results))
"""


def limited() -> None:
    """Little memory: whoever reads a terabyte, or a whole tree, into it fails."""
    most = 8 << 30 if GUESTS else 1 << 30  # a guest's memory is room for addresses, whether it takes it or not
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def test_no_odd_file_hangs_or_bloats_an_operation(sandlot: Sandlot, state_dir: Path, host_folder: Path) -> None:
    workspace = sandlot.create()
    done = workspace.exec(["python3", "-c", PLANT, str(MANY), str(DEEP)])
    assert done.exit_status == 0, done.stderr.text
    ran = subprocess.run(
        [sys.executable, "-c", OPERATIONS, str(state_dir), workspace.id, str(host_folder)],
        env=clean_environment(state_dir), capture_output=True, timeout=200, check=False, preexec_fn=limited,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
    results: dict[str, str] = json.loads(ran.stdout)
    # Whatever was refused was refused by us, in words.
    assert set(results.values()) <= {"done", "file_refused", "unsafe_path", "seed_unreadable", "path_not_found"}
    for name in (
        "list",
        "search",
        "diff",
        "summary",
        "export many",
        "snapshot",
        "fork",
        "reset",
        "delete",
        "read sparse",
    ):
        assert results[name] == "done", (name, results[name])
    for name in ("read fifo", "read socket", "read many", "write fifo"):
        assert results[name] != "done" or name == "write fifo"
    assert len(os.listdir(host_folder / "many")) == MANY


HOSTILE = (
    b"\x1b]0;owned\x07", b"\x1b[2Jclear", b"\x1b[6nreport", b"\x9b31mcsi", b"new\nline", b"cr\rover", b"bell\x07",
    b"\x1bPdcs\x1b\\", b"\x1b]52;c;ZXZpbA==\x07", b"back\x08\x08", b"\xc2\x9b2Jc1", b"\xff\xfebytes",
    b"\xe2\x80\xaertl",
)  # fmt: skip
COMMANDS = (
    ("workspace", "file", "list", "{id}"),
    ("workspace", "file", "list", "{id}", "--recursive"),
    ("workspace", "diff", "{id}"),
    ("workspace", "diff", "{id}", "--stat"),
    ("workspace", "summary", "{id}"),
    ("workspace", "logs", "{id}"),
    ("workspace", "logs", "{id}", "1"),
    ("workspace", "status", "{id}"),
    ("workspace", "list"),
    ("workspace", "file", "search", "{id}", "payload"),
    ("workspace", "file", "read", "{id}", "loud"),
    ("workspace", "file", "read", "{id}", "{evil}"),
    ("workspace", "file", "delete", "{id}", "{evil}"),
    ("workspace", "export", "{id}", "{evil}", "{out}"),
    ("workspace", "exec", "{id}", "--", "cat", "loud"),
    ("workspace", "exec", "{id}", "--", "\x1b[2Jno-such-program"),
    ("workspace", "status", "\x1b[2Jnobody"),
    ("\x1b[2Jword",),
)


def on_terminal(words: list[str], environment: dict[str, str]) -> bytes:
    """What a terminal would get: stdout and stderr of the command line on a pseudo-terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sandlot", *words], env={**environment, "TERM": "xterm-256color"}, stdin=follower,
        stdout=follower, stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    output = b""
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not data:
            break
        output += data
    os.close(leader)
    process.wait(60)
    return output


# Colours are ours to use; everything else that starts with ESC, and the C1 controls, is not.
UNSAFE = re.compile(rb"\x1b(?!\[[0-9;]*m)|\x07|\xc2[\x80-\x9f]|\x9b")
OVERWRITING = re.compile(rb"\x08|\r(?!\r*\n)")
PROGRAMS = ("logs", "exec", "read")
"""These show what a program printed, progress bars included; a file's content counts as that."""


@pytest.fixture
def loud(workspace: Workspace) -> Workspace:
    script = "import os, sys\nfor name in sys.argv[1:]:\n open(os.fsencode(name), 'w').write('payload ' + name)\n"
    script += "open('loud', 'wb').write(b'payload ' + b' '.join(map(os.fsencode, sys.argv[1:])))\n"
    script += "sys.stdout.buffer.write(open('loud', 'rb').read())\n"
    done = workspace.exec(["python3", "-c", "# \x1b[2J\n" + script.replace("'w')", "'w', errors='surrogateescape')"),
                           *map(os.fsdecode, HOSTILE)])  # fmt: skip
    assert done.exit_status == 0, done.stderr.text
    return workspace


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words).encode("unicode_escape").decode())
def test_no_name_or_output_commands_the_terminal(
    loud: Workspace, state_dir: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    filled = [word.format(id=loud.id, evil=os.fsdecode(HOSTILE[0]), out=tmp_path / "out") for word in words]
    output = on_terminal(filled, clean_environment(state_dir))
    assert output
    assert b"Traceback" not in output
    assert UNSAFE.findall(output.replace(b"\xe2\x9b", b"")) == []
    if not set(PROGRAMS) & set(words):
        assert OVERWRITING.findall(output) == []


def test_names_survive_in_json_whatever_they_hold(loud: Workspace, cli: Cli) -> None:
    listed = json.loads(cli("workspace", "file", "list", loud.id, "--json").stdout)
    names = {os.fsencode(entry["path"]) for entry in listed["entries"]}
    assert {name.split(b"/")[-1] for name in names} >= set(HOSTILE)


def test_an_unknown_file_type_is_an_error_in_words(workspace: Workspace) -> None:
    workspace.exec(["mkfifo", "pipe"])
    with pytest.raises(SandlotError):
        workspace.files.read("pipe")
