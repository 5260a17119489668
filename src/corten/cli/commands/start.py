"""corten start."""

from __future__ import annotations

import sys

from corten.cli.attachment import ask, detach_keys, exit_status, join
from corten.cli.client import quote, raw
from corten.cli.each import each
from corten.cli.failure import Failure
from corten.cli.flags import BOOL, STRING
from corten.cli.wire import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Start one or more stopped containers"
USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"


def arguments(parser: Parser) -> None:
    """One container or more."""
    parser.words(1)
    parser.flag("attach", BOOL, "Attach STDOUT/STDERR and forward signals", short="a")
    parser.flag("detach-keys", STRING, "Override the key sequence for detaching a container")
    parser.flag("interactive", BOOL, "Attach container's STDIN", short="i")


def run(client: Client, args: Values) -> int:
    """POST /containers/{id}/start, with the streams of one if that is asked for."""
    if args.attach or args.interactive:
        if len(args.words) > 1:
            raise Failure("you cannot start and attach multiple containers at once")
        return _attached(client, args)
    failed: list[str] = []
    status = each(
        args.words,
        lambda name: client.begin("POST", f"/containers/{quote(name)}/start"),
        failed=failed,
    )
    if failed:
        sys.stderr.write(f"Error: failed to start containers: {', '.join(failed)}\n")
    return status


def _attached(client: Client, args: Values) -> int:
    path = f"/containers/{quote(args.words[0])}"
    config = client.get(f"{path}/json")["Config"]
    streams = {"stdout", "stderr"}
    if args.interactive and config["OpenStdin"]:
        streams.add("stdin")
    tty = config["Tty"]
    keys = detach_keys(args.detach_keys) if tty else b""
    attach = ask(client, path, streams, args.detach_keys)
    wait = client.begin("POST", f"{path}/wait", condition="next-exit")
    stream = raw(attach)
    ended = wait.response()
    client.post(f"{path}/start")
    stayed = join(client, stream, path, streams, keys, tty=tty, proxy=not tty)
    return exit_status(loads(ended.read())) if stayed else 0
