"""Engine: the services behind every door. It has no verbs of its own."""

from dataclasses import dataclass

from corten.engine.containers.execs import Execs
from corten.engine.containers.service import Containers
from corten.engine.events import Events
from corten.engine.images.service import Images
from corten.engine.networks.service import Networks
from corten.engine.system import System
from corten.engine.volumes.service import Volumes


@dataclass(frozen=True)
class Engine:
    """The services; made by the composition root."""

    containers: Containers
    execs: Execs
    images: Images
    networks: Networks
    volumes: Volumes
    events: Events
    system: System
