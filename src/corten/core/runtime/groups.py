"""Groups: the cgroups of an engine's containers, for what the daemon does without the supervisor.

Freezing, figures, processes and clean-up need no parent of the processes, so
they do not pass through the supervisor.
"""

import os
from contextlib import suppress
from typing import Any

from corten.linux import cgroups


class Groups:
    """The cgroups below the folder *prefix* of each hierarchy."""

    def __init__(self, prefix: str) -> None:
        self._layout, self.prefix = cgroups.probe(), prefix

    @property
    def mode(self) -> str:
        """Return ``v1``, ``hybrid`` or ``v2``."""
        return self._layout.mode

    def folders(self, path: str) -> dict[str, str]:
        """Return the folder of *path* in each hierarchy by the hierarchy's name; on v2 one, named ""."""
        if self.mode == "v2":
            return {"": f"{self._layout.unified}/{path}"}
        roots = sorted(set(self._layout.controllers.values()))
        return {os.path.basename(root): f"{root}/{path}" for root in roots}

    def freeze(self, path: str) -> None:
        """Stop every process of *path* where it is; blocks until done."""
        self._layout.cgroup(path).freeze()

    def thaw(self, path: str) -> None:
        """Let every process of *path* go on."""
        self._layout.cgroup(path).thaw()

    def pids(self, path: str) -> list[int]:
        """Return the processes of *path* as the host numbers them."""
        return self._layout.cgroup(path).pids()

    def stats(self, path: str) -> dict[str, Any]:
        """Return what *path* uses; see ``Cgroup.stats`` for the shape."""
        return self._layout.cgroup(path).stats()

    def apply(self, path: str, resources: dict[str, Any]) -> None:
        """Set limits of *path*; see ``Cgroup.apply`` for their form and what can be refused."""
        self._layout.cgroup(path).apply(resources)

    def offers(self, *names: str) -> bool:
        """Tell whether the engine's folder has one of these control files: what the kernel can limit."""
        folders = self.folders(self.prefix).values()
        return any(os.path.exists(f"{folder}/{name}") for folder in folders for name in names)

    def remove(self) -> None:
        """Remove the engine's folder in every hierarchy; KernelError where a container is left."""
        self._layout.cgroup(self.prefix).remove()

    def sweep(self, claimed: set[str]) -> None:
        """Remove the cgroups of containers that are not in *claimed*, and end what nobody has ever heard of in them.

        A process is unheard of when its supervisor died between starting it and writing that down.
        """
        names: set[str] = set()
        for folder in self.folders(self.prefix).values():
            with suppress(FileNotFoundError):
                names.update(name for name in os.listdir(folder) if len(name) == 64)
        for name in names - claimed:
            group = self._layout.cgroup(f"{self.prefix}/{name}")
            with suppress(OSError):
                group.kill()
                group.remove()
