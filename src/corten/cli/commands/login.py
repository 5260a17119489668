"""corten login."""

from __future__ import annotations

import posix
import sys

from corten.cli.credentials import HUB, Credentials, Login, server
from corten.cli.failure import ApiError, Failure
from corten.cli.flags import BOOL, STRING
from corten.cli.output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Authenticate to a registry"
USAGE = "[OPTIONS] [SERVER]"
UNAUTHORIZED = 401
STDIN = "-"  # in place of a password


def arguments(parser: Parser) -> None:
    """Where, and as whom."""
    parser.words(0, 1)
    parser.flag("password", STRING, "Password or access token", short="p")
    parser.flag("password-stdin", BOOL, "Take the password from stdin")
    parser.flag("username", STRING, "Username", short="u")


def run(client: Client, args: Values) -> int:
    """POST /auth, then keep what worked in config.json or with a credential helper."""
    password = _given_password(args)
    key = server(args.words[0]) if args.words else HUB
    known = Credentials()
    before = None if args.username or password else known.find(key)
    if before is not None and _again(client, known, before):
        return 0
    username = args.username or _ask("Username", before.username if before else "")
    if not username:
        raise Failure("username is required")
    password = password or _ask("Password", hidden=True)
    if not password:
        raise Failure("password is required")
    _finish(client, known, Login(key, username, password))
    return 0


def _given_password(args: Values) -> str:
    """The password that flags or stdin give; empty for none."""
    if args.password and args.password_stdin:
        raise Failure("conflicting options: cannot specify both --password and --password-stdin")
    if args.password and args.password != STDIN:
        sys.stderr.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    if not args.password_stdin and args.password != STDIN:
        return str(args.password)
    if not args.username:
        raise Failure("the --password-stdin option requires --username to be set")
    read = sys.stdin.read()
    return read.removesuffix("\n").removesuffix("\r")


def _again(client: Client, known: Credentials, before: Login) -> bool:
    """Try the login that is kept; tell whether it still works."""
    whom = f" [Username: {before.username}]" if before.username else ""
    sys.stdout.write(f"Authenticating with existing credentials...{whom}\n")
    try:
        _finish(client, known, before)
    except ApiError as error:
        if error.code != UNAUTHORIZED:
            raise
        say("The credentials that were kept do not work any more")
        return False
    return True


def _finish(client: Client, known: Credentials, login: Login) -> None:
    answer: dict[str, Any] = client.post("/auth", login.body())
    login.token = str(answer.get("IdentityToken") or login.token)
    if known.store(login):
        sys.stderr.write(
            f"WARNING! Your credentials are stored unencrypted in {known.path}.\n"
            "Name a credential helper there (credsStore) to keep them safe.\n"
        )
    say(str(answer.get("Status") or "Login Succeeded"))


def _ask(what: str, usual: str = "", *, hidden: bool = False) -> str:
    """Ask the user at the terminal, which with *hidden* does not show the answer."""
    if not posix.isatty(0):
        raise Failure("cannot ask for a name and a password without a terminal: use -u and --password-stdin")
    question = f"{what} ({usual}): " if usual else f"{what}: "
    answer = _in_secret(question) if hidden else _line(question)
    return answer.strip("\r\n") or usual


def _line(question: str) -> str:
    sys.stdout.write(question)
    sys.stdout.flush()
    return sys.stdin.readline()


def _in_secret(question: str) -> str:
    """Ask with the echo turned off before, so that not even a quick answer is shown."""
    import termios

    before = termios.tcgetattr(0)
    silent = termios.tcgetattr(0)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(0, termios.TCSAFLUSH, silent)
    try:
        return _line(question)
    finally:
        termios.tcsetattr(0, termios.TCSAFLUSH, before)
        sys.stdout.write("\n")
        sys.stdout.flush()
