"""What doctor says of guests. Nothing of it is needed by who has no use for them, so none of it makes doctor fail."""

from __future__ import annotations

from dataclasses import replace

from sandlot.errors import SandlotError
from sandlot.runtimes.base import Finding, ProbeReport
from sandlot.workspaces.context import Context

__all__ = ["guest_findings"]


def guest_findings(context: Context, *, deep: bool) -> tuple[ProbeReport | None, list[Finding]]:
    """What works with QEMU, and what is ready. A guest is started only when ``deep``: that takes seconds to minutes."""
    from sandlot.runtimes.qemu.probe import Prober

    prober = Prober(context.paths)
    try:
        report = prober.report(fresh=True) if deep else prober.known()
    except SandlotError as error:
        return None, [Finding("qemu.guest", False, error.message, error.hint, required=False)]
    findings = [replace(finding, required=False) for finding in report.findings]
    if report.available:
        findings.append(prober.template())
    return report, findings
