"""corten registry user: edit the file of users."""

import argparse
import getpass
import os
import sys

from corten.errors import InvalidInput
from corten.serve.daemon.registry_settings import RegistryConfig
from corten.serve.registry.access import htpasswd


def edit(config: RegistryConfig, given: argparse.Namespace) -> int:
    """Add, remove or list users; a running registry takes the change in at once.

    Raises:
        InvalidInput: no name, or one too many; two passwords that differ.
        NotFound: there is no such user to remove.
    """
    path = config.access.htpasswd or config.standard_users
    if bool(given.name) == (given.action == "ls"):
        raise InvalidInput(
            "name the user to add or remove" if given.action != "ls" else "ls takes no user's name"
        )
    if given.action == "ls":
        for name, stored in sorted(htpasswd.read(path).items()):
            note = "" if htpasswd.understood(stored) else "  (cannot log in: give a new password)"
            sys.stdout.write(f"{name}{note}\n")
    elif given.action == "rm":
        htpasswd.remove(path, given.name)
    else:
        htpasswd.check_name(given.name)  # before anybody types a password
        if not config.access.htpasswd:
            os.makedirs(config.folder, 0o700, exist_ok=True)
        htpasswd.add(path, given.name, htpasswd.make(_password(from_stdin=given.password_stdin)))
    return 0


def _password(*, from_stdin: bool) -> str:
    """Return the password that is typed twice, or the first line of stdin."""
    if from_stdin or not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise InvalidInput("the two passwords differ: try again")
    return password
