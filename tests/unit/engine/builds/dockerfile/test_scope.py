"""Scopes: which variables FROM sees, and which a stage does."""

import pytest

from corten.engine.builds.dockerfile.instructions import Argument, Pair
from corten.engine.builds.dockerfile.parse import parse
from corten.engine.builds.dockerfile.scope import (
    PLATFORM_NAMES,
    Scope,
    global_variables,
    platform_arguments,
    unused,
)
from corten.errors import InvalidInput
from corten.oci.platform import Platform


def test_platform_arguments_are_all_there() -> None:
    """Who builds and for whom, in all parts (O05)."""
    found = platform_arguments(Platform("linux", "amd64"), Platform("linux", "arm", "v7"), "app")

    assert found.keys() == PLATFORM_NAMES
    assert found["BUILDPLATFORM"] == "linux/amd64"
    assert found["TARGETPLATFORM"] == "linux/arm/v7"
    assert (found["TARGETARCH"], found["TARGETVARIANT"], found["BUILDVARIANT"]) == ("arm", "v7", "")
    assert found["TARGETSTAGE"] == "app"


def test_the_global_scope() -> None:
    """Given values win over defaults, which see what stands in front of them (O02, F06)."""
    arguments = parse("ARG a=1 b=$a-$TARGETARCH\nARG c d=$c\nARG TARGETARCH\nFROM x").arguments
    found = global_variables(
        arguments, {"c": "C", "BUILDOS": "x", "other": "y"}, {"TARGETARCH": "t", "BUILDOS": "b"}
    )

    assert found == {"a": "1", "b": "1-t", "c": "C", "d": "C", "TARGETARCH": "t", "BUILDOS": "x"}


def test_a_default_that_cannot_be_is_pointed_at() -> None:
    """The place is that of the word."""
    arguments = parse("ARG a c=${b:?}\nFROM x").arguments
    with pytest.raises(InvalidInput, match=r"^Dockerfile:1:9: b: is not set"):
        global_variables(arguments, {}, {})


def test_a_stage_declares_what_it_sees() -> None:
    """A declaration takes the given value, its default, or the global value, in this order (O02)."""
    scope = Scope(given={"a": "given", "b": "given"}, outer={"c": "outer", "d": "outer"})
    arguments = [
        Argument("a"),
        Argument("b", "default"),
        Argument("c"),
        Argument("d", "default"),
        Argument("e"),
    ]
    inner = scope.declare(arguments)

    assert scope.variables == {}
    assert inner.variables == {"a": "given", "b": "given", "c": "outer", "d": "default"}
    assert inner.arguments["e"] is None


def test_the_environment_wins_over_arguments() -> None:
    """ENV hides ARG of the same name wherever it stands (V09)."""
    scope = Scope(environment={"a": "base"}).declare([Argument("a", "1"), Argument("b", "2")])

    assert scope.variables == {"a": "base", "b": "2"}
    assert scope.define([Pair("b", "3")]).variables == {"a": "base", "b": "3"}


def test_commands_get_the_proxies() -> None:
    """Proxies that were given need no declaration, but are no variables of words (O04, R02)."""
    scope = Scope(given={"http_proxy": "p", "x": "y"}, environment={"a": "b"})

    assert scope.run_environment == {"http_proxy": "p", "a": "b"}
    assert scope.variables == {"a": "b"}


def test_unused_arguments_are_told() -> None:
    """What nothing declares is named; proxies, settings and platforms need nobody (O03, O06)."""
    found = parse("ARG a\nFROM x\nARG b\nONBUILD ARG c")
    given = ["a", "b", "c", "d", "NO_PROXY", "BUILDKIT_SYNTAX", "TARGETARCH"]
    assert unused(found, given) == ("d",)
