"""corten exec."""

from __future__ import annotations

from corten.cli.attachment import check_terminal, detach_keys, start_failure
from corten.cli.client import quote, raw
from corten.cli.failure import ApiError
from corten.cli.flags import BOOL, LIST, STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Execute a command in a running container"
USAGE = "[OPTIONS] CONTAINER COMMAND [ARG...]"
UNREADABLE = 400  # the daemon's answer for a command that cannot be started


def arguments(parser: Parser) -> None:
    """A container and a command line."""
    parser.words(2, interspersed=False)
    parser.flag("detach", BOOL, "Detached mode: run command in the background", short="d")
    parser.flag("detach-keys", STRING, "Override the key sequence for detaching a container")
    parser.flag("env", LIST, "Set environment variables", short="e")
    parser.flag("env-file", LIST, "Read in a file of environment variables")
    parser.flag("interactive", BOOL, "Keep STDIN open even if not attached", short="i")
    parser.flag("privileged", BOOL, "Give extended privileges to the command")
    parser.flag("tty", BOOL, "Allocate a pseudo-TTY", short="t")
    parser.flag("user", STRING, 'Username or UID (format: "<name|uid>[:<group|gid>]")', short="u")
    parser.flag("workdir", STRING, "Working directory inside the container", short="w")


def run(client: Client, args: Values) -> int:
    """Create the exec, start it, copy its streams, ask for the exit code."""
    name, *_ = args.words
    stdin = args.interactive and not args.detach
    check_terminal(tty=args.tty and not args.detach, stdin=stdin)
    keys = detach_keys(args.detach_keys) if args.tty else b""
    made = client.post(f"/containers/{quote(name)}/exec", _body(args, stdin=stdin))["Id"]
    path = f"/exec/{made}"
    start: dict[str, Any] = {"Detach": args.detach, "Tty": args.tty}
    if args.tty and not args.detach:
        from corten.cli.terminal import size

        if found := size():
            start["ConsoleSize"] = list(found)
    try:
        if args.detach:
            client.post(f"{path}/start", start)
            return 0
        stream = raw(client.upgrade(f"{path}/start", start))
    except ApiError as error:
        raise start_failure(error) if error.code == UNREADABLE else error from None
    from corten.cli.stdio import Session, converse

    session = Session(*stream, tty=args.tty, stdin=stdin, keys=keys if stdin else b"")
    if not converse(client, session, path, tty=args.tty, raw=args.tty and stdin, proxy=False):
        return 0
    return int(client.get(f"{path}/json")["ExitCode"] or 0)


def _body(args: Values, *, stdin: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"Cmd": args.words[1:], "AttachStdin": stdin, "Tty": args.tty}
    body["AttachStdout"] = body["AttachStderr"] = not args.detach
    fields = (("user", "User"), ("workdir", "WorkingDir"), ("privileged", "Privileged"))
    body |= {field: getattr(args, flag) for flag, field in fields if flag in args.given}
    if not args.given.isdisjoint(("env", "env_file")):
        from corten.cli.create.files import environment

        body["Env"] = environment(args.env_file, args.env)
    return body
