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
GROUPS = {
    "container": ("Manage containers", CONTAINER),
    "image": ("Manage images", IMAGE),
    "manifest": ("Look at manifests in registries", MANIFEST),
    "registry": ("Serve images to others", REGISTRY),
    "system": ("Manage the engine", SYSTEM),
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
