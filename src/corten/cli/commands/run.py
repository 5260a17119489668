"""corten run."""

from __future__ import annotations

from corten.cli.attachment import (
    ask,
    check_terminal,
    detach_keys,
    exit_status,
    join,
    load_streams,
    start_failure,
)
from corten.cli.client import raw
from corten.cli.create.body import attached
from corten.cli.create.flags import declare
from corten.cli.create.request import create
from corten.cli.failure import ApiError, Failure
from corten.cli.flags import BOOL, STRING
from corten.cli.output import say
from corten.cli.wire import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client, Exchange
    from corten.cli.flags import Parser, Values

HELP = "Create and run a new container from an image"
USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
FAILURE = 125


def arguments(parser: Parser) -> None:
    """As create, and how to stay with the container."""
    declare(parser)
    parser.flag("detach", BOOL, "Run container in background and print container ID", short="d")
    parser.flag("detach-keys", STRING, "Override the key sequence for detaching a container")
    parser.flag("sig-proxy", BOOL, "Proxy received signals to the process", default=True)


def run(client: Client, args: Values) -> int:
    """Create, attach, wait, start: each request is on its way before the answer to the last is needed.

    Attach and wait have to be in place before the start: a container can be
    over, and removed, within a millisecond.
    """
    if args.detach:
        if args.attach:
            raise Failure("conflicting options: cannot specify both --attach and --detach", 1)
        made = create(client, args, set())
        _started(client.begin("POST", f"/containers/{made}/start"))
        say(made)
        return 0
    streams = attached(args)
    check_terminal(tty=args.tty, stdin="stdin" in streams)
    keys = detach_keys(args.detach_keys) if args.tty else b""
    made = create(client, args, streams)
    path = f"/containers/{made}"
    attach = ask(client, path, streams, args.detach_keys)
    wait = client.begin("POST", f"{path}/wait", condition="removed" if args.rm else "next-exit")
    stream = raw(attach)
    ended = wait.response()
    started = client.begin("POST", f"{path}/start")
    load_streams()  # while the engine is at work
    _started(started)
    stayed = join(client, stream, path, streams, keys, tty=args.tty, proxy=args.sig_proxy)
    return exit_status(loads(ended.read())) if stayed else 0


def _started(request: Exchange) -> None:
    """Take the answer of a start."""
    try:
        request.value()
    except ApiError as error:
        raise start_failure(error) from None
