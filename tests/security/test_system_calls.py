"""Case 8: what a workspace must not ask of the kernel."""

from __future__ import annotations

from tests.security.conftest import Attacker


def test_no_dangerous_system_call_is_granted(attacker: Attacker) -> None:
    report = attacker("system_calls")
    calls: dict[str, str] = report["calls"]
    granted = sorted(name for name, answer in calls.items() if answer in ("OK", "died", "?"))
    assert granted == []
    assert calls["clone3"] == "ENOSYS"
    assert {calls[name] for name in calls if name.startswith(("unshare", "mount", "clone user"))} == {"EPERM"}
    assert {calls[name] for name in calls if name.startswith("TIOC")} == {"EPERM"}
    assert {calls[name] for name in calls if name.startswith(("i386", "x32"))} <= {"ENOSYS"}
    assert {calls[name] for name in calls if name.startswith("AF_")} == {"EAFNOSUPPORT"}
    assert calls["the controlling terminal"] == "ENXIO"


def test_a_command_holds_no_privilege(attacker: Attacker) -> None:
    status: dict[str, str] = attacker("system_calls")["status"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert status["Uid"].split() == ["1000"] * 4
