"""Reference: how people name images, and what that stands for.

``debian`` is short for ``docker.io/library/debian:latest``. What counts as a
registry is decided by the text before the first slash: it holds a dot or a
colon, has an upper-case letter, or is ``localhost``.
Source: OCI distribution-spec 1.1, "Pulling manifests" (grammar of names and
tags); the short forms are those of the Docker command line.
"""

import re
from typing import Self

import msgspec

from corten.errors import InvalidInput
from corten.oci.digest import Digest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_OFFICIAL = "library/"
_LEGACY_DOMAIN = "index.docker.io"
_MAX_NAME = 255

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_FORM = re.compile(
    rf"(?P<domain>{_DOMAIN})/(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[^@/:]*))?(?:@(?P<digest>.*))?",
    re.DOTALL,
)
_TAG_FORM = re.compile(_TAG)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")


class Reference(msgspec.Struct, frozen=True, order=True):
    """``domain/path[:tag][@digest]``, always written out in full by ``str``."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str, default_tag: str = DEFAULT_TAG) -> Self:
        """Read *text* by Docker's rules; without tag and digest it gets *default_tag*.

        Raises:
            InvalidInput: the text is not a name of an image.
        """
        if _IDENTIFIER.fullmatch(text):
            raise InvalidInput(
                f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )
        domain, remainder = _split_domain(text)
        found = _FORM.fullmatch(f"{domain}/{remainder}")
        if found is None:
            raise _refusal(remainder)
        tag, digest = found["tag"], found["digest"]
        if (tag is not None and not _TAG_FORM.fullmatch(tag)) or digest == "":
            raise InvalidInput("invalid reference format")
        if len(f"{found['domain']}/{found['path']}") > _MAX_NAME:
            raise InvalidInput(f"repository name must not be more than {_MAX_NAME} characters")
        if digest is not None:
            _check_digest(digest)
        elif tag is None:
            tag = default_tag
        return cls(found["domain"], found["path"], tag or "", digest or "")

    @property
    def repository(self) -> str:
        """Return the full name without tag and digest: ``docker.io/library/debian``."""
        return f"{self.domain}/{self.path}"

    @property
    def name(self) -> str:
        """Return the name as people write it, without tag and digest: ``debian``.

        It always reads back as the same name.
        """
        if self.domain == DEFAULT_DOMAIN:
            for short in (self.path.removeprefix(_OFFICIAL), self.path):
                if _split_domain(short) == (self.domain, self.path):
                    return short
        return self.repository

    @property
    def familiar(self) -> str:
        """Return the name as people write it: ``debian:latest``."""
        return self.name + self._suffix

    @property
    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag

    def __str__(self) -> str:
        return self.repository + self._suffix


def _split_domain(text: str) -> tuple[str, str]:
    """Return the registry and the rest, with Docker's defaults filled in."""
    first, slash, rest = text.partition("/")
    named = slash and (any(mark in first for mark in ".:") or first == "localhost" or first != first.lower())
    domain, remainder = (first, rest) if named else (DEFAULT_DOMAIN, text)
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = _OFFICIAL + remainder
    return domain, remainder


def _refusal(remainder: str) -> InvalidInput:
    """Say what is wrong with a name that the grammar does not know."""
    repository = re.split(r"[:@]", remainder, maxsplit=1)[0]
    if repository != repository.lower():
        return InvalidInput(f"invalid reference format: repository name ({repository}) must be lowercase")
    return InvalidInput("invalid reference format")


def _check_digest(text: str) -> None:
    """Refuse what is no digest, in the words of a reference's reader."""
    try:
        Digest(text)
    except InvalidInput:
        raise InvalidInput("invalid reference format: the part after @ is not a digest") from None
