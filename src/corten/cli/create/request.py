"""Asking the daemon for a container, and for its image where that is missing."""

from __future__ import annotations

import posix
import sys

from corten.cli.create.body import build
from corten.cli.failure import ApiError, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Values

PULL = ("always", "missing", "never")
NOT_FOUND = 404
FILE_MODE = 0o644


def create(client: Client, args: Values, streams: set[str]) -> str:
    """Create the container that *args* describe; return its id.

    Args:
        client: The daemon.
        args: The flags of run or create.
        streams: What the client will attach.

    Raises:
        Failure: the flags contradict each other, or the daemon says no.
    """
    if args.pull not in PULL:
        raise Failure(f'invalid pull option: \'{args.pull}\': must be one of "always", "missing" or "never"')
    body = build(args, streams)
    if args.cidfile:
        return _with_cidfile(client, args, body)
    return _create(client, args, body)


def _create(client: Client, args: Values, body: dict[str, Any]) -> str:
    if args.pull == "always":
        pull(client, args)
    try:
        answer = _ask(client, args, body)
    except ApiError as error:
        missing = error.code == NOT_FOUND and "no such image" in error.reason.lower()
        if not missing or args.pull != "missing":
            raise
        if not args.quiet:
            from corten.cli.names import familiar

            sys.stderr.write(f"Unable to find image '{familiar(args.words[0])}' locally\n")
        pull(client, args)
        answer = _ask(client, args, body)
    for warning in answer.get("Warnings") or []:
        sys.stderr.write(f"WARNING: {warning}\n")
    return str(answer["Id"])


def _ask(client: Client, args: Values, body: dict[str, Any]) -> Any:
    return client.post("/containers/create", body, name=args.name, platform=args.platform)


def pull(client: Client, args: Values) -> None:
    """Have the daemon fetch the image; what it says goes to stderr.

    Raises:
        Failure: it could not.
    """
    from corten.cli.credentials import header
    from corten.cli.names import split_reference
    from corten.cli.progress import show

    repository, tag = split_reference(args.words[0])
    query = dict(fromImage=repository, tag=tag, platform=args.platform)
    response = client.stream("POST", "/images/create", headers=header(repository), **query)
    show(response, quiet=args.quiet, error_stream=True)
    client.give_back(response)


def _with_cidfile(client: Client, args: Values, body: dict[str, Any]) -> str:
    """Create, and write the id into a file that must not have been there."""
    name = args.cidfile
    try:
        descriptor = posix.open(
            name, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, FILE_MODE
        )
    except FileExistsError:
        raise Failure(
            f"container ID file found, make sure the other container isn't running or delete {name}"
        ) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Failure(f"failed to create the container ID file: open {name}: {reason}") from None
    try:
        made = _create(client, args, body)
    except BaseException:
        posix.unlink(name)
        raise
    posix.write(descriptor, made.encode())
    posix.close(descriptor)
    return made
