"""UpdateRequest: what a user asks to change of a container that exists.

The limits and the restart policy are Docker's. The members named Add and
Remove are ours; their words are those that Docker has for services
(``--publish-add``, ``--mount-rm``). Source: Docker Engine API 1.51,
ContainerUpdate.
"""

import msgspec

from corten.engine.records.config import (
    EndpointSettings,
    MountRequest,
    PortBinding,
    Resources,
    RestartPolicy,
    decode_resources,
)
from corten.errors import InvalidInput

Bindings = dict[str, tuple[PortBinding, ...] | None]


class UpdateRequest(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What shall change; what a request leaves out stays as it is.

    ``publish_add`` and ``publish_remove`` are keyed as PortBindings are
    (``80/tcp``); an empty text in a binding to remove fits any. ``bind_add``
    has the form of ``-v``, ``mount_remove`` targets in the container. All that
    is removed is removed before anything is added.
    """

    restart_policy: RestartPolicy | None = None
    label_add: dict[str, str] | None = None
    label_remove: tuple[str, ...] | None = None
    publish_add: Bindings | None = None
    publish_remove: Bindings | None = None
    mount_add: tuple[MountRequest, ...] | None = None
    bind_add: tuple[str, ...] | None = None
    mount_remove: tuple[str, ...] | None = None
    network_add: dict[str, EndpointSettings | None] | None = None
    network_remove: tuple[str, ...] | None = None
    resources: Resources = Resources()

    @property
    def changes_mounts(self) -> bool:
        """Tell whether any mount is to be added or removed."""
        return bool(self.mount_add or self.bind_add or self.mount_remove)

    @property
    def changes_ports(self) -> bool:
        """Tell whether any port is to be published or not any more."""
        return bool(self.publish_add or self.publish_remove)


def decode_update(body: bytes) -> UpdateRequest:
    """Read the body of ``POST /containers/{id}/update``; unknown members are ignored.

    Raises:
        InvalidInput: not JSON, or a member has the wrong type.
    """
    resources = decode_resources(body)
    try:
        request = msgspec.json.decode(body, type=UpdateRequest)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"invalid request body: {error}") from error
    return msgspec.structs.replace(request, resources=resources)
