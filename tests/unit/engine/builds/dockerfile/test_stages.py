"""Stages: what a name refers to, and what a target needs."""

import pytest

from corten.engine.builds.dockerfile.lines import Position
from corten.engine.builds.dockerfile.parse import parse
from corten.engine.builds.dockerfile.stages import (
    FromContext,
    FromImage,
    FromScratch,
    FromStage,
    base_origin,
    needs,
    origin,
    required,
)
from corten.errors import InvalidInput

FILE = parse(
    """\
ARG BASE=base
FROM scratch AS Base
FROM debian AS tools
FROM $BASE AS app
COPY --from=tools /a /a
COPY --from=0 /b /b
RUN --mount=from=busybox,target=/c c
FROM app
ONBUILD COPY --from=elsewhere a b
FROM tools AS last
"""
)
HERE = Position("D", 1)


def test_stages_have_names_and_numbers() -> None:
    """Names are compared in small letters; a stage without one goes by its number (F02)."""
    assert [stage.label for stage in FILE.stages] == ["base", "tools", "app", "3", "last"]
    assert [len(stage.instructions) for stage in FILE.stages] == [0, 0, 3, 1, 0]
    assert FILE.stages[0].start.alias == "Base"


@pytest.mark.parametrize(("name", "index"), [("", 4), ("BASE", 0), ("app", 2), ("3", 3)])
def test_targets_go_by_name_or_number(name: str, index: int) -> None:
    """Case does not count; without a name the last stage is the target (F08)."""
    assert FILE.target(name).index == index


@pytest.mark.parametrize(
    ("name", "hint"), [("ap", ": did you mean app?"), ("5", ": expected app, base,"), ("٣", "")]
)
def test_unknown_targets_are_refused(name: str, hint: str) -> None:
    """The message offers what there is (F08)."""
    with pytest.raises(InvalidInput) as failure:
        FILE.target(name)
    assert str(failure.value).startswith(f'Dockerfile has no target stage "{name}"{hint}')


def test_a_base_is_a_stage_above_or_an_image() -> None:
    """A name from above shadows an image; one from below does not (F03, F04)."""
    first, second = FILE.stages[:2]
    assert base_origin(FILE, second, "BASE") == FromStage(0)
    assert base_origin(FILE, first, "base") == FromImage("base")
    assert base_origin(FILE, second, "app") == FromImage("app")
    assert base_origin(FILE, second, "0") == FromImage("0")
    assert base_origin(FILE, first, "scratch") == FromScratch()
    assert base_origin(FILE, second, "base", ["Base"]) == FromContext("Base")
    assert base_origin(FILE, second, "debian:latest", ["debian"]) == FromContext("debian")


def test_files_come_from_stages_contexts_and_images() -> None:
    """A name may be a stage, a number, a context or an image (K01)."""
    app = FILE.stages[2]
    assert origin(FILE, app, "Tools", HERE) == FromStage(1)
    assert origin(FILE, app, "1", HERE) == FromStage(1)
    assert origin(FILE, app, "alpine:3", HERE) == FromImage("alpine:3")
    assert origin(FILE, app, "scratch", HERE) == FromScratch()
    assert origin(FILE, app, "tools", HERE, ["tools"]) == FromContext("tools")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("app", 'stage "app" cannot take files from itself'),
        ("last", 'expected a stage above this one, but "last" stands below: move it up'),
        ("2", 'expected a stage above this one, which is number 2, found "2"'),
        ("99999999", "expected a stage above this one"),
    ],
)
def test_stages_look_up_only(name: str, message: str) -> None:
    """A stage takes nothing from itself or from below, so there are no circles (Z07)."""
    with pytest.raises(InvalidInput) as failure:
        origin(FILE, FILE.stages[2], name, HERE)
    assert str(failure.value).startswith(f"D:1:1: {message}")


def test_what_a_stage_needs() -> None:
    """Its base, and what COPY and mounts name; triggers wait for the next build."""
    found = needs(FILE, FILE.stages[2], {"BASE": "base"})

    assert found.base == FromStage(0)
    assert found.others == {"tools": FromStage(1), "0": FromStage(0), "busybox": FromImage("busybox")}
    assert found.stages == {0, 1}
    assert not needs(FILE, FILE.stages[3], {}).others


def test_only_what_a_target_needs_is_built() -> None:
    """Stages come after those that they need; the others are not looked at (F09)."""
    assert list(required(FILE, FILE.target(), {})) == [1, 4]
    assert list(required(FILE, FILE.target("3"), {"BASE": "base"})) == [0, 1, 2, 3]
    assert list(required(FILE, FILE.target("app"), {"BASE": "base"}, ["tools"])) == [0, 2]


def test_a_name_may_be_taken_twice() -> None:
    """The later stage of a name is meant, once it is there."""
    found = parse("FROM a AS x\nFROM x AS x\nFROM x")
    assert needs(found, found.stages[1], {}).base == FromStage(0)
    assert needs(found, found.stages[2], {}).base == FromStage(1)


def test_a_bad_name_is_pointed_at() -> None:
    """The place is that of the flag."""
    found = parse("FROM a\nCOPY --chown=1 --from=b c d\nFROM x AS b")
    with pytest.raises(InvalidInput, match=r"^Dockerfile:2:16: expected a stage above"):
        needs(found, found.stages[0], {})
