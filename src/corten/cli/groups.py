"""The tree of the commands: which words lead to which module.

A command of one word needs no entry: ``corten stop`` is commands/stop.py. A
module whose name has an underscore is reached through its group alone.
"""

from __future__ import annotations

CONTAINER = {
    "attach": "attach",
    "commit": "commit",
    "create": "create",
    "diff": "diff",
    "exec": "exec",
    "export": "export",
    "inspect": "container_inspect",
    "kill": "kill",
    "logs": "logs",
    "ls": "ps",
    "list": "ps",
    "ps": "ps",
    "pause": "pause",
    "port": "port",
    "prune": "container_prune",
    "rename": "rename",
    "restart": "restart",
    "rm": "rm",
    "remove": "rm",
    "run": "run",
    "start": "start",
    "stop": "stop",
    "top": "top",
    "unpause": "unpause",
    "update": "update",
    "wait": "wait",
}
IMAGE = {
    "bootstrap": "image_bootstrap",
    "history": "history",
    "import": "import",
    "inspect": "image_inspect",
    "load": "load",
    "ls": "images",
    "list": "images",
    "prune": "image_prune",
    "pull": "pull",
    "push": "push",
    "rm": "rmi",
    "remove": "rmi",
    "save": "save",
    "tag": "tag",
}
MANIFEST = {
    "inspect": "manifest_inspect",
}
NETWORK = {
    "connect": "network_connect",
    "create": "network_create",
    "disconnect": "network_disconnect",
    "inspect": "network_inspect",
    "ls": "network_ls",
    "list": "network_ls",
    "ports": "network_ports",
    "prune": "network_prune",
    "rm": "network_rm",
    "remove": "network_rm",
}
REGISTRY = {
    "gc": "registry_gc",
    "retention": "registry_retention",
    "serve": "registry_serve",
    "user": "registry_user",
}
SYSTEM = {
    "df": "system_df",
    "events": "events",
    "info": "info",
    "prune": "system_prune",
    "reset": "system_reset",
}
VOLUME = {
    "clone": "volume_clone",
    "cp": "volume_cp",
    "create": "volume_create",
    "export": "volume_export",
    "import": "volume_import",
    "inspect": "volume_inspect",
    "ls": "volume_ls",
    "list": "volume_ls",
    "prune": "volume_prune",
    "rename": "volume_rename",
    "restore": "volume_restore",
    "rm": "volume_rm",
    "remove": "volume_rm",
    "snapshot": "volume_snapshot",
    "undelete": "volume_undelete",
}
GROUPS = {
    "container": ("Manage containers", CONTAINER),
    "image": ("Manage images", IMAGE),
    "manifest": ("Look at manifests in registries", MANIFEST),
    "network": ("Manage networks", NETWORK),
    "registry": ("Serve images to others", REGISTRY),
    "system": ("Manage the engine", SYSTEM),
    "volume": ("Manage volumes", VOLUME),
}
# as the overview shows them, the most wanted first
OVERVIEW = (
    ("First steps", ("image bootstrap", "run", "exec", "ps", "logs", "stop", "rm", "images")),
    (
        "Containers",
        (
            "create",
            "start",
            "restart",
            "kill",
            "pause",
            "unpause",
            "update",
            "wait",
            "attach",
            "top",
            "rename",
            "diff",
            "commit",
            "export",
            "container prune",
        ),
    ),
    ("Registries", ("pull", "push", "login", "logout", "search", "manifest inspect", "registry serve")),
    ("Images", ("load", "save", "import", "tag", "history", "rmi", "image prune")),
    (
        "Networks",
        (
            "network create",
            "network ls",
            "network connect",
            "network disconnect",
            "network rm",
            "port",
            "network ports",
        ),
    ),
    (
        "Volumes",
        (
            "volume create",
            "volume ls",
            "volume rm",
            "volume undelete",
            "volume cp",
            "volume export",
            "volume import",
            "volume snapshot",
            "volume restore",
        ),
    ),
    (
        "Engine",
        ("info", "version", "events", "inspect", "daemon", "system df", "system prune", "system reset"),
    ),
)


def paths(module: str) -> list[str]:
    """All command lines that lead to *module*, the one in a group first."""
    found = [
        f"corten {group} {word}"
        for group, (_, words) in GROUPS.items()
        for word, name in words.items()
        if name == module
    ]
    return found if "_" in module else [*found, f"corten {module}"]
