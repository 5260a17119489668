"""The control socket: a question and its answer, wherever the folder is."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from corten.errors import Conflict, Unavailable
from corten.serve.daemon.registry_control import SOCKET, Control, ask
from tests.looping import in_loop


async def tell(dry_run: bool) -> str:
    """Say what was asked."""
    return f"dry run: {dry_run}"


async def fail(_: bool) -> str:
    """Fail as a verb may."""
    raise Conflict("that does not work now")


@in_loop
async def test_asks_a_running_registry(tmp_path: Path) -> None:
    """The verb runs in the server; only the folder's owner can ask, also where the path is long."""
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    await asyncio.to_thread(os.makedirs, folder)
    control = Control(str(folder), {"gc": tell, "retention": fail})
    await control.open()
    try:
        mode = (folder / SOCKET).stat().st_mode
        assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
        assert await asyncio.to_thread(ask, str(folder), "gc", dry_run=True) == "dry run: True"
        with pytest.raises(Unavailable, match="does not work now"):
            await asyncio.to_thread(ask, str(folder), "retention", dry_run=False)
        with pytest.raises(Unavailable, match="does not understand"):
            await asyncio.to_thread(ask, str(folder), "dance", dry_run=False)
    finally:
        await control.close()
    assert os.listdir(folder) == []


@in_loop
async def test_nobody_there(tmp_path: Path) -> None:
    """Without a server, and with the socket that a killed one left, the answer is None; the next server replaces it."""
    assert await asyncio.to_thread(ask, str(tmp_path), "gc", dry_run=True) is None
    first = Control(str(tmp_path), {"gc": tell})
    await first.open()
    assert first._server is not None
    first._server.close()
    assert await asyncio.to_thread(ask, str(tmp_path), "gc", dry_run=True) is None
    second = Control(str(tmp_path), {"gc": tell})
    await second.open()
    assert await asyncio.to_thread(ask, str(tmp_path), "gc", dry_run=False) == "dry run: False"
    await second.close()
