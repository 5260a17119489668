"""Credential: who we are to one registry."""

from typing import NamedTuple


class Credential(NamedTuple):
    """A user's name and password, or an identity token that a login gave instead of the password.

    ``repr`` hides the secrets, so that no log or traceback shows them.
    """

    username: str
    password: str
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"Credential(username={self.username!r})"
