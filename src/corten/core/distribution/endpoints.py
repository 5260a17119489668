"""Endpoints: the servers behind the domain of a reference, in the order to ask them. Pure.

``docker.io`` is no server: images come from ``registry-1.docker.io``, search
and the key of stored credentials are ``index.docker.io``.
"""

from typing import NamedTuple

from yarl import URL

from corten.core.distribution.settings import DOCKER_SERVERS, RegistrySettings
from corten.errors import InvalidInput
from corten.oci.reference import DEFAULT_DOMAIN

DOCKER_SERVER = "registry-1.docker.io"
DOCKER_INDEX = "index.docker.io"


class Endpoint(NamedTuple):
    """One server.

    Attributes:
        host: ``host[:port]``.
        prefix: Path before ``/v2/``, empty or with a leading slash.
        namespace: Put before the path of each repository, empty or with a trailing slash.
        plain: Plain HTTP, by order of the administrator.
        mirror: It never gets a credential, and its failures are not told.
    """

    host: str
    prefix: str = ""
    namespace: str = ""
    plain: bool = False
    mirror: bool = False

    def base(self, scheme: str) -> URL:
        """Return the URL of the API's root, ending in ``/v2/``."""
        return URL(f"{scheme}://{self.host}{self.prefix}/v2/")


def domain_of(host: str) -> str:
    """Return the domain of references for what a user typed as the host of a registry.

    Raises:
        InvalidInput: it is no name of a host.
    """
    bare = host.strip().removeprefix("https://").removeprefix("http://").partition("/")[0]
    try:
        valid = bool(URL(f"https://{bare}/").host) and "@" not in bare
    except ValueError:
        valid = False
    if not valid:
        raise InvalidInput(f"invalid registry {host!r}: give host[:port]")
    return DEFAULT_DOMAIN if bare.lower() in DOCKER_SERVERS else bare


def credential_key(domain: str) -> str:
    """Return the host under which credentials for *domain* are kept."""
    return DOCKER_INDEX if domain in DOCKER_SERVERS else domain


def server_of(domain: str) -> Endpoint:
    """Return the registry itself."""
    return Endpoint(DOCKER_SERVER if domain == DEFAULT_DOMAIN else domain)


def endpoints(domain: str, settings: RegistrySettings) -> list[Endpoint]:
    """Return who to ask for images of *domain*: its mirrors in order, then the registry itself."""
    return [*(mirror(text) for text in settings.host(domain).mirrors), server_of(domain)]


def mirror(text: str) -> Endpoint:
    """Read one mirror: ``host[:port]`` or ``http[s]://host[:port][/path]``.

    A path that starts with ``/v2/`` names a folder of repositories (pull-through
    projects of some registries); any other path comes before ``/v2/``.

    Raises:
        InvalidInput: it is neither, or holds a password, which mirrors never get.
    """
    try:
        url = URL(text if "://" in text else f"https://{text}")
        valid = url.scheme in ("http", "https") and bool(url.host) and not url.query_string
    except ValueError:
        valid = False
    if not valid or url.user is not None:
        raise InvalidInput(f"invalid mirror {text!r}: give host[:port] or a URL without password and query")
    path = url.raw_path.strip("/")
    folder = f"{path}/".removeprefix("v2/") if f"{path}/".startswith("v2/") else ""
    prefix = f"/{path}" if path and not f"{path}/".startswith("v2/") else ""
    return Endpoint(url.raw_authority, prefix, folder, plain=url.scheme == "http", mirror=True)
