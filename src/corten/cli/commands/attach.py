"""corten attach."""

from __future__ import annotations

from corten.cli.attachment import ask, check_terminal, detach_keys, exit_status, join
from corten.cli.client import quote, raw
from corten.cli.failure import Failure
from corten.cli.flags import BOOL, STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Attach local standard input, output, and error streams to a running container"
USAGE = "[OPTIONS] CONTAINER"


def arguments(parser: Parser) -> None:
    """One container."""
    parser.words(1, 1)
    parser.flag("detach-keys", STRING, "Override the key sequence for detaching a container")
    parser.flag("no-stdin", BOOL, "Do not attach STDIN")
    parser.flag("sig-proxy", BOOL, "Proxy all received signals to the process", default=True)


def run(client: Client, args: Values) -> int:
    """POST /containers/{id}/attach, then the exit code."""
    path = f"/containers/{quote(args.words[0])}"
    container = client.get(f"{path}/json")
    _check_state(container["State"])
    config = container["Config"]
    tty, streams = config["Tty"], {"stdout", "stderr"}
    if config["OpenStdin"] and not args.no_stdin:
        streams.add("stdin")
    check_terminal(tty=tty, stdin="stdin" in streams)
    keys = detach_keys(args.detach_keys) if tty else b""
    wait = client.begin("POST", f"{path}/wait")
    stream = raw(ask(client, path, streams, args.detach_keys))
    stayed = join(client, stream, path, streams, keys, tty=tty, proxy=args.sig_proxy and not tty)
    return exit_status(wait.value()) if stayed else 0


def _check_state(state: dict[str, Any]) -> None:
    if not state["Running"]:
        raise Failure("You cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise Failure("You cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise Failure("You cannot attach to a restarting container, wait until it is running")
