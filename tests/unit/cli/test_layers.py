"""The tree of layers that ``images --tree`` draws."""

from typing import Any

import pytest

from corten.cli.layers import tree
from tests.unit.cli.commands.test_images import run
from tests.unit.cli.server import Daemon, Reply


def image(name: str, *layers: str) -> dict[str, Any]:
    """Return an image; each of its layers is a letter that tells it and its size, times a thousand, from its neighbours."""
    chain, found = "", []
    for layer in layers:
        chain += layer
        found.append({"ChainID": chain, "DiffID": f"sha256:{layer[0] * 64}", "Size": int(layer[1:]) * 1000})
    return {
        "Id": f"sha256:{name.rpartition(':')[0]:0<64}",
        "RepoTags": [name] if name.endswith(":1") else [],
        "RepoDigests": [],
        "Size": sum(layer["Size"] for layer in found),
        "Layers": found,
    }


def test_shared_layers_are_drawn_once() -> None:
    """Branches are sorted by size; layers without a fork between them are one branch."""
    images = [
        image("web:1", "a100", "b20", "c3"),
        image("db:1", "a100", "d50"),
        image("base:1", "a100"),
        image("other:1", "e1"),
        image("alias:1", "a100", "d50"),
    ]
    assert tree(images) == (
        "LAYERS                        SIZE      IMAGE                    WHOLE IMAGE\n"
        "aaaaaaaaaaaa                  100kB     base:1 (base00000000)    100kB\n"
        "├─ dddddddddddd               50kB      db:1 (db0000000000)      150kB\n"
        "│                                       alias:1 (alias0000000)   150kB\n"
        "└─ 2 layers to cccccccccccc   23kB      web:1 (web000000000)     123kB\n"
        "eeeeeeeeeeee                  1kB       other:1 (other0000000)   1kB\n"
        "\n"
        "5 images, 5 layers, 174kB on disk; without sharing it would be 524kB\n"
    )


def test_deeper_branches_keep_their_lines() -> None:
    """A fork inside a branch that is not the last one, and layers that no image ends with."""
    images = [image("x:1", "a9", "b8", "c7"), image("y:1", "a9", "b8", "d6"), image("z:1", "a9", "e1")]
    assert tree(images).splitlines()[1:-2] == [
        "aaaaaaaaaaaa         9kB                            ",
        "├─ bbbbbbbbbbbb      8kB                            ",
        "│  ├─ cccccccccccc   7kB       x:1 (x00000000000)   24kB",
        "│  └─ dddddddddddd   6kB       y:1 (y00000000000)   23kB",
        "└─ eeeeeeeeeeee      1kB       z:1 (z00000000000)   10kB",
    ]


def test_nothing_and_next_to_nothing() -> None:
    """No image, one without layers, and one without a name."""
    assert tree([]).endswith("\n0 images, 0 layers, 0B on disk\n")
    assert "empty:1 (empty0000000)" in tree([image("empty:1")])
    assert "<none> (bare00000000)" in tree([image("bare:2", "a1")])


def test_the_command(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """It asks for the layers, of hidden images too."""
    daemon.on("GET", "/images/json", Reply(200, [image("web:1", "a1")]))
    assert run(daemon, "images", "--tree", "web") == 0
    assert "1 image, 1 layer, 1kB on disk\n" in capsys.readouterr().out
    assert daemon.requests[0].query == {
        "all": ["1"],
        "filters": ['{"reference":{"web":true}}'],
        "layers": ["1"],
    }
