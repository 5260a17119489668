"""The text of /etc/hosts, /etc/hostname and /etc/resolv.conf of a container, by Docker's rules; no I/O."""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address

from corten.core.networks.dns.view import ADDRESS, Server
from corten.errors import InvalidInput

HOST_GATEWAY = "host-gateway"
FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")
# Where systemd-resolved keeps the real servers while /etc/resolv.conf names only its local stub.
RESOLVED_CONF = "/run/systemd/resolve/resolv.conf"
_RESOLVED_STUB = "127.0.0.53"

_LOCALHOST = "127.0.0.1\tlocalhost\n"
_LOCALHOST_IPV6 = """\
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def hostname(name: str) -> str:
    """Return the text of /etc/hostname.

    Raises:
        InvalidInput: *name* holds white space or control characters.
    """
    return f"{_word(name, 'host name')}\n"


def hosts(
    name: str,
    addresses: Sequence[str] = (),
    extra: Iterable[str] = (),
    *,
    domain: str = "",
    host_gateway: str = "",
    links: Mapping[str, Sequence[str]] | None = None,
    ipv6: bool = True,
) -> str:
    """Return the text of /etc/hosts.

    Args:
        name: Host name of the container.
        addresses: Its own addresses; none without a network.
        extra: ``--add-host`` values, ``name:ip`` or ``name=ip``, IPv6 with or
            without brackets, ``host-gateway`` as the address.
        domain: Its domain name, if any.
        host_gateway: What ``host-gateway`` stands for.
        links: Address -> names of containers linked to on the default bridge.
        ipv6: Whether the loopback link of the container has IPv6.

    Raises:
        InvalidInput: an *extra* is not of that form, or asks for a
            ``host-gateway`` where there is none.
    """
    lines = [_LOCALHOST, _LOCALHOST_IPV6 if ipv6 else ""]
    for text in extra:
        host, address = _extra_host(text, host_gateway)
        lines.append(f"{address}\t{host}\n")
    for address, aliases in (links or {}).items():
        words = " ".join(_word(alias, "alias of a link") for alias in aliases)
        lines.append(f"{_ip(address, 'address of a link')}\t{words}\n")
    _word(name, "host name")
    names = f"{name}.{_word(domain, 'domain name')} {name}" if domain else name
    lines += [f"{address}\t{names}\n" for address in addresses]
    return "".join(lines)


def _extra_host(text: str, host_gateway: str) -> tuple[str, str]:
    separator = "=" if "=" in text else ":"
    host, _, address = text.partition(separator)
    if not host or not address:
        raise InvalidInput(f'bad format for add-host: "{text}"')
    if address == HOST_GATEWAY:
        if not host_gateway:
            raise InvalidInput(f'add-host "{text}": this network has no gateway to the host')
        address = host_gateway
    elif address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    return _word(host, "host name"), _ip(address, "address in add-host")


def is_resolved_stub(host_text: str) -> bool:
    """Tell whether the host's file names systemd-resolved's stub alone, so that RESOLVED_CONF has the servers."""
    return [value for key, value in _entries(host_text) if key == "nameserver"] == [_RESOLVED_STUB]


def resolv_conf(
    host_text: str,
    servers: Sequence[str] = (),
    searches: Sequence[str] = (),
    options: Sequence[str] = (),
    *,
    ipv6: bool = False,
) -> str:
    """Return the text of /etc/resolv.conf for a network namespace of its own.

    What the user gave replaces the host's line of that kind. Host servers on
    the loopback link, and IPv6 ones without *ipv6*, cannot be reached from
    inside and are left out; with none left, public ones are named.

    Args:
        host_text: The host's file, see ``is_resolved_stub``.
        servers: ``--dns`` addresses.
        searches: ``--dns-search`` domains; a single ``.`` means none.
        options: ``--dns-option`` values.
        ipv6: Whether the container has IPv6 beyond loopback.

    Raises:
        InvalidInput: a server is not an address, a domain or option holds white space.
    """
    found = _directives(host_text)
    chosen = [_ip(server, "DNS server") for server in servers]
    chosen = chosen or [server for server in found["nameserver"] if _reachable(server, ipv6)]
    lines = [f"nameserver {server}\n" for server in chosen or FALLBACK_SERVERS]
    lines += _search_lines(found, searches)
    option = [_word(value, "DNS option") for value in options] or found["options"]
    if option:
        lines.append(f"options {' '.join(option)}\n")
    return "".join(lines)


def resolver_conf(
    host_text: str,
    servers: Sequence[str] = (),
    searches: Sequence[str] = (),
    options: Sequence[str] = (),
    *,
    ipv6: bool = False,
) -> str:
    """Return the text of /etc/resolv.conf where the engine's own name server answers.

    The servers that it asks in turn (``outer_servers``) stand in a comment, in
    the form that Docker has. Names of containers have no dots, so ``ndots`` is
    0 unless the user or the host says otherwise.

    Args:
        host_text: The host's file, see ``is_resolved_stub``.
        servers: ``--dns`` addresses.
        searches: ``--dns-search`` domains; a single ``.`` means none.
        options: ``--dns-option`` values.
        ipv6: Whether the container has IPv6 beyond loopback.

    Raises:
        InvalidInput: a server is not an address, a domain or option holds white space.
    """
    found = _directives(host_text)
    option = [_word(value, "DNS option") for value in options] or found["options"]
    if not any(value.partition(":")[0] == "ndots" for value in option):
        option = [*option, "ndots:0"]
    outside = outer_servers(host_text, servers, ipv6=ipv6)
    named = [server.address if server.inside else f"host({server.address})" for server in outside]
    given = {"nameservers": servers, "search": searches, "options": options}
    return "".join(
        [
            f"nameserver {ADDRESS}\n",
            *_search_lines(found, searches),
            f"options {' '.join(option)}\n\n",
            f"# ExtServers: [{' '.join(named)}]\n",
            f"# Overrides: [{' '.join(key for key, values in given.items() if values)}]\n",
        ]
    )


def outer_servers(host_text: str, servers: Sequence[str] = (), *, ipv6: bool = False) -> tuple[Server, ...]:
    """Return whom the engine's name server asks for a container, from where.

    What the user gave is asked from inside, as the container would. Of the
    host's, those on its loopback link, and IPv6 ones that are link-local or
    without *ipv6*, are asked from the host; with none at all, public ones from
    inside.

    Raises:
        InvalidInput: one of *servers* is not an address.
    """
    if servers:
        return tuple(Server(_ip(server, "DNS server")) for server in servers)
    named = [server for server in _directives(host_text)["nameserver"] if _is_address(server)]
    return tuple(Server(server, inside=_reachable(server, ipv6)) for server in named or FALLBACK_SERVERS)


def _directives(text: str) -> dict[str, list[str]]:
    """Return the values of each directive of a resolv.conf."""
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": [], "sortlist": []}
    for key, value in _entries(text):
        if key == "nameserver":
            found[key] += value.split()[:1]
        elif key in ("search", "domain"):
            found["search"] = value.split()  # the last line counts, resolv.conf(5)
        elif key in found:
            found[key] += value.split()
    return found


def _search_lines(found: Mapping[str, Sequence[str]], searches: Sequence[str]) -> list[str]:
    lines = []
    search = [_word(domain, "DNS search domain") for domain in searches] or found["search"]
    if search and search != ["."]:
        lines.append(f"search {' '.join(search)}\n")
    if found["sortlist"]:
        lines.append(f"sortlist {' '.join(found['sortlist'])}\n")
    return lines


def _entries(text: str) -> Iterable[tuple[str, str]]:
    """Return (keyword, value) of each line that says something."""
    for line in text.splitlines():
        words = line.strip().split(None, 1)
        if len(words) == 2 and words[0][0] not in "#;":
            yield words[0], words[1].strip()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _reachable(server: str, ipv6: bool) -> bool:
    if not _is_address(server):
        return False
    address = ip_address(server)
    if address.is_loopback:
        return False
    return address.version == 4 or (ipv6 and not address.is_link_local)  # those are reached by one link only


def _ip(text: str, what: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise InvalidInput(f'invalid {what}: "{text}" is not an IP address') from None


def _word(text: str, what: str) -> str:
    """Return *text* when it cannot break out of its line."""
    if not text or not text.isprintable() or any(character.isspace() for character in text):
        raise InvalidInput(f'invalid {what}: "{text!r}"')
    return text
