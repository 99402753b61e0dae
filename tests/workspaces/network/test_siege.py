"""A gateway under siege: too many clients, slow ones, one that is killed in the middle, floods of denials."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

from sandlot.sdk import Sandlot
from sandlot.workspaces.network import denials
from sandlot.workspaces.network.gateway import MAX_CONNECTIONS
from tests.workspaces.conftest import folder_of
from tests.workspaces.network.conftest import DEADLINE_S, Origin
from tests.workspaces.network.test_gateway import gateway_of, server, wait_until

__all__ = ["server"]

CROWD = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
said = [b"", b"GET http://one", b"CONNECT one.test:443 HTTP/1.1\\r\\n", b"\\xff" * 3000, b"\\x16\\x03\\x01\\x02"]
held = []
for n in range(1000):
    made = socket.socket()
    made.setblocking(False)
    made.connect_ex(("127.0.0.1", 3128))
    held.append(made)
for n, made in enumerate(held):
    made.settimeout(0.01)
    try:
        made.sendall(said[n % len(said)])
    except OSError:
        pass
print(len(held), flush=True)
sys.stdin.read()
"""


def test_a_thousand_clients_hold_up_nobody_but_themselves(sandlot: Sandlot, server: Origin) -> None:
    place = f"127.0.0.2:{server.port}"
    crowded, quiet = (sandlot.create(allow_private=[place], publish=[8000]) for _ in range(2))
    gateway = gateway_of(crowded)
    ask = ["curl", "-sS", "-m", "60", f"http://{place}/"]
    assert crowded.exec(ask).stdout.text == "answer to /"
    crowd = crowded.exec(["sh", "-c", 'sleep 1000 | python3 -c "$0"', CROWD], background=True).command.number
    wait_until(lambda: crowded.logs(crowd).output == "1000\n", "the crowd is there")
    wait_until(lambda: _threads(gateway.pid) > MAX_CONNECTIONS // 2, "the gateway is busy")
    assert _threads(gateway.pid) < MAX_CONNECTIONS + 20
    if os.geteuid() == 0:  # who holds secrets shows nothing of itself to others
        assert len(os.listdir(f"/proc/{gateway.pid}/fd")) < 2 * MAX_CONNECTIONS + 100
    assert quiet.exec(ask).stdout.text == "answer to /"
    assert crowded.status().responsive
    crowded.kill(crowd)
    assert crowded.exec(ask).stdout.text == "answer to /"
    assert gateway.alive()
    wait_until(lambda: _threads(gateway.pid) < 20, "the crowd is forgotten")


def _threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def test_a_gateway_killed_in_the_middle_breaks_off_and_is_back_for_the_next_command(sandlot: Sandlot) -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        place = f"127.0.0.2:{listener.getsockname()[1]}"
        listener.settimeout(DEADLINE_S)
        workspace = sandlot.create(allow_private=[place])
        gateway = gateway_of(workspace)
        running = [
            workspace.exec(["curl", "-sS", *words, f"http://{place}/"], background=True).command.number
            for words in ((), ("-p",))
        ]
        accepted = [listener.accept()[0] for _ in running]  # both requests are on their way
        helpers = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
        os.kill(gateway.pid, signal.SIGKILL)
        for number in running:
            done = workspace.wait(number, timeout=DEADLINE_S)
            assert done.exit_status in (52, 56)  # nothing was answered, or it broke off: never a success
        for each in accepted:
            each.settimeout(DEADLINE_S)
            while each.recv(65536):
                pass  # the far side has seen the end, too
            each.close()
        for pid in (gateway.pid, *map(int, helpers)):
            wait_until(lambda pid=pid: _gone(pid), "it has ended")  # type: ignore[misc]  # a lambda has no types
        thread = threading.Thread(target=_answer, args=(listener,))
        thread.start()
        assert workspace.exec(["curl", "-sS", f"http://{place}/"]).stdout.text == "back"
        thread.join(DEADLINE_S)


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] in (b"Z", b"X")
    except OSError:
        return True


def _answer(listener: socket.socket) -> None:
    accepted, _ = listener.accept()
    with accepted:
        accepted.recv(65536)
        accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nback")


FLOOD = """
import socket
for n in range(3000):
    with socket.create_connection(("127.0.0.1", 3128)) as made:
        made.sendall(b"GET http://n%d.%s.test/ HTTP/1.0\\r\\n\\r\\n" % (n, b"x" * 60))
        made.recv(65536)
"""


def test_a_flood_of_denials_leaves_short_answers_and_a_bounded_log(sandlot: Sandlot) -> None:
    flooded, off = sandlot.create(allow=["one.test"]), sandlot.create()
    for workspace in (flooded, off):
        done = workspace.exec(["python3", "-c", FLOOD + "raise SystemExit(1)"])
        assert done.exit_status == 1, done.stderr.text
        assert len(done.denied) == denials.MAX_PLACES + 1
        assert done.denied[-1].startswith("... and ")
        assert len(workspace.status().denials) <= 20
        assert folder_of(workspace).joinpath("denials.log").stat().st_size <= denials.LOG_BYTES


def test_two_workspaces_are_not_served_by_each_others_proxy(sandlot: Sandlot, server: Origin) -> None:
    place = f"127.0.0.2:{server.port}"
    friend, enemy = sandlot.create(allow_private=[place]), sandlot.create(allow=["one.test"])
    ask = ["curl", "-s", f"http://{place}/"]
    assert friend.exec(ask).stdout.text == "answer to /"
    assert enemy.exec(ask).stdout.text.startswith("network_denied")
    assert len(server.seen) == 1
