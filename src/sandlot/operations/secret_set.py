"""Give a workspace a secret, or change one."""

from __future__ import annotations

from dataclasses import dataclass

from sandlot.errors import UsageError
from sandlot.operations.addressed import OneWorkspace
from sandlot.operations.operation import Caller, Effect, Operation, argument
from sandlot.operations.secreted import SecretInfo, describe_secrets, secret_warnings
from sandlot.workspaces.context import Context


@dataclass(frozen=True, kw_only=True)
class Request(OneWorkspace):
    """Its name, where it may go, where its value is. A value itself never is part of a request."""

    name: str = argument("the environment variable inside", positional=True)
    hosts: tuple[str, ...] = argument(
        "a host that may get the value: HOST[:PORT] over https, or http://HOST[:PORT]; "
        "without any, an existing secret keeps its own",
        default=(),
        metavar="HOST",
    )
    reveal_only: bool = argument("bound to no host: only --reveal hands it out", default=False)
    source: str | None = argument(
        "take the value from env:VAR or file:PATH [default: standard input]",
        default=None,
        kind="secret",
        metavar="SOURCE",
        host_path=True,
    )


@dataclass(frozen=True, slots=True)
class Result:
    """The secret as it is now."""

    workspace_id: str
    secret: SecretInfo
    created: bool
    """Whether the workspace did not have it before."""
    warnings: tuple[str, ...] = ()


def run(context: Context, request: Request, caller: Caller) -> Result:
    """From the next command on, and for the proxy at once; running commands keep their environment."""
    from sandlot.workspaces.secrets import keeping, sources

    if request.reveal_only and request.hosts:
        raise UsageError("hosts and reveal-only exclude each other")
    sources.check_name(request.name)
    if request.source is not None:
        value = sources.read_source(request.name, request.source)
    elif caller.content is not None:
        value = sources.read_content(request.name, caller.content)
    else:
        raise UsageError(f"there is no value for {request.name}", hint="pipe it in, or say where it is with --from")
    secret = sources.checked(request.name, value, request.hosts)
    keep = not request.hosts and not request.reveal_only
    record, created = keeping.put(context, request.workspace, secret, keep_hosts=keep)
    (info,) = (each for each in describe_secrets(record) if each.name == request.name)
    warnings = [each for each in secret_warnings(record) if f" {request.name} " in each]
    return Result(record.id, info, created, tuple(warnings))


OPERATION = Operation(
    name="secret_set",
    command=("workspace", "secret", "set"),
    summary="Give a workspace a secret that it can use at certain hosts but not read, or change one.",
    request=Request,
    run=run,
    effect=Effect(idempotent=True),
    examples=(
        "sandlot workspace secret set fix-123 API_KEY --host api.example.com --from env:API_KEY",
        "pass show deploy | sandlot workspace secret set fix-123 DEPLOY_TOKEN --host deploy.example.com",
        "sandlot workspace secret set fix-123 LICENSE_KEY --reveal-only --from file:license.txt",
    ),
)
