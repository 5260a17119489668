"""A registry as a process of its own, to be killed: ``python -m ... FOLDER``; it prints its port."""

import asyncio
import sys

from corten.serve.registry.app import Config, serve
from corten.serve.registry.registry import open_registry
from corten.serve.registry.shelves import Terms
from corten.serve.registry.storage.folder import FolderStorage


async def main(folder: str) -> None:
    """Serve until killed, with garbage always being collected."""
    storage = FolderStorage(folder)
    registry = open_registry(storage, f"{folder}/registry.db", Terms(grace=60))
    serving = await serve(Config(port=0, collect=0.05), registry.pulls, registry)
    sys.stdout.write(f"{serving.port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
