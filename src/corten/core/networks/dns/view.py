"""What one container sees of names: values, no I/O."""

import msgspec

ADDRESS = "127.0.0.11"  # where containers ask, as in Docker


class Server(msgspec.Struct, frozen=True):
    """A name server outside of the engine.

    ``inside`` says from where it is asked: from the container's network
    namespace, as if the container did it, or from the host's, for those that
    listen on the host's loopback link alone.
    """

    address: str
    inside: bool = True
    port: int = 53


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Whose names a container can resolve.

    ``networks`` are ids, searched in this order. ``links`` are names that only
    this container has for others (alias -> name). Without ``external``, as on
    internal networks alone, nobody outside is ever asked.
    """

    networks: tuple[str, ...] = ()
    links: dict[str, str] = {}
    servers: tuple[Server, ...] = ()
    external: bool = True
