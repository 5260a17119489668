"""``--check``: every rule finds what it is for, and nothing else."""

import pytest

from corten.engine.builds.dockerfile.directives import ALL, Check
from corten.engine.builds.dockerfile.lint.lint import RULES, UNDEFINED_VAR, lint
from corten.engine.builds.dockerfile.parse import parse

GOOD = """\
# syntax=docker/dockerfile:1
ARG VERSION=12
# the base of everything
FROM --platform=$BUILDPLATFORM debian:${VERSION} AS base
ARG TARGETARCH
ENV HOME=/root PUBLIC_KEY=x
WORKDIR /srv
WORKDIR app
RUN a \\
    # comment
    b
FROM base
COPY --from=base $HOME/$TARGETARCH ${x:-y} $PATH /
EXPOSE 80/tcp 81-82/udp
SHELL ["/bin/bash", "-c"]
CMD a
ENTRYPOINT ["a"]
"""


def test_a_good_file_has_no_findings() -> None:
    """What is written well is not blamed."""
    assert not lint(parse(GOOD))


@pytest.mark.parametrize(
    ("text", "rule", "place", "message"),
    [
        ("FROM a AS Base", "StageNameCasing", "1:11", 'stage name "Base" has capitals: write base'),
        ("FROM a as b", "FromAsCasing", "1:8", "as is not written like FROM: write AS"),
        ("from a AS b", "FromAsCasing", "1:8", "AS is not written like from: write as"),
        ("FROM a\nRUN b\nrun c", "ConsistentInstructionCasing", "3:1", "run is not written like most"),
        (
            "from a\nrun b\nRun c",
            "ConsistentInstructionCasing",
            "3:1",
            "Run is not written like most instructions",
        ),
        ("FROM a AS b\nFROM c AS b", "DuplicateStageName", "2:11", 'stage name "b" is taken on line 1'),
        ("FROM a AS context", "ReservedStageName", "1:11", 'stage name "context" has a meaning of its own'),
        ("FROM a\nMAINTAINER b", "MaintainerDeprecated", "2:1", "MAINTAINER is deprecated: write LABEL"),
        (
            "FROM a\nENV b c",
            "LegacyKeyValueFormat",
            "2:1",
            "ENV without an equals sign is deprecated: write b=...",
        ),
        ("FROM a\nLABEL b c", "LegacyKeyValueFormat", "2:1", "LABEL without an equals sign"),
        ("FROM a\nRUN b \\\n\nc", "NoEmptyContinuation", "3:1", "empty line inside an instruction"),
        (
            "FROM --platform=$TARGETPLATFORM a",
            "RedundantTargetPlatform",
            "1:6",
            "--platform=$TARGETPLATFORM is what",
        ),
        (
            "FROM --platform=linux/amd64 a",
            "FromPlatformFlagConstDisallowed",
            "1:6",
            "--platform=linux/amd64 is fixed: remove it",
        ),
        (
            "FROM a\nARG x API_TOKEN",
            "SecretsUsedInArgOrEnv",
            "2:7",
            "API_TOKEN looks like a secret, and ARG is public",
        ),
        ("FROM a\nENV password=b", "SecretsUsedInArgOrEnv", "2:5", "password looks like a secret"),
        ("FROM a\nEXPOSE 80/TCP", "ExposeProtoCasing", "2:8", 'protocol "TCP" has capitals: write tcp'),
        (
            "FROM a\nEXPOSE 1 8080:80",
            "ExposeInvalidFormat",
            "2:10",
            "EXPOSE takes no address or port of the host: write 80",
        ),
        ("FROM a\nCMD b", "JSONArgsRecommended", "2:1", "the shell of CMD gets the signals"),
        ("FROM a\nENTRYPOINT b", "JSONArgsRecommended", "2:1", "the shell of ENTRYPOINT gets the signals"),
        (
            'FROM a\nCMD ["b"]\nCMD ["c"]',
            "MultipleInstructionsDisallowed",
            "2:1",
            "this CMD has no effect, the one on line 3 wins",
        ),
        ("FROM a\nWORKDIR b", "WorkdirRelativePath", "2:1", 'WORKDIR "b" continues that of the base image'),
        (
            "FROM $a",
            "UndefinedArgInFrom",
            "1:6",
            "FROM uses $a, which no ARG above the first FROM declares: add ARG a",
        ),
        (
            "ARG VERSION=1\nFROM a:${VERSON}",
            "UndefinedArgInFrom",
            "2:8",
            "FROM uses $VERSON, which no ARG above the first FROM declares: did you mean $VERSION?",
        ),
        ("FROM --platform=$BUILDPLATFROM a", "UndefinedArgInFrom", "1:17", "FROM uses $BUILDPLATFROM"),
        (
            "ARG v\nFROM a:$v",
            "InvalidDefaultArgInFrom",
            "2:6",
            "a:$v names no image unless build arguments are given",
        ),
        ("FROM scratch\nCOPY a $b/", "UndefinedVar", "2:8", "nothing defines $b here: add ARG b"),
        (
            "FROM a\nENV FOO=1\nUSER $FO",
            "UndefinedVar",
            "3:6",
            "nothing defines $FO here, unless the base image sets it: did",
        ),
        (
            "FROM scratch\nCOPY <<E /a\nit's $b\nE",
            "UndefinedVar",
            "2:1",
            "nothing defines $b here: add ARG b",
        ),
    ],
)
def test_each_rule_finds_its_place(text: str, rule: str, place: str, message: str) -> None:
    """A finding has a rule, a place, and one line that says what to do."""
    found = lint(parse(text, "D"))

    assert [(finding.rule, str(finding.position)) for finding in found] == [(rule, f"D:{place}")]
    assert found[0].message.startswith(message)
    assert str(found[0]) == f"D:{place}: {found[0].message} ({rule})"


@pytest.mark.parametrize(
    "text",
    [
        "FROM --platform=linux/arm64 a AS tool-arm64",
        "FROM a AS b\nWORKDIR /c\nFROM b\nWORKDIR d",
        'FROM a AS b\nSHELL ["c"]\nFROM b\nCMD d',
        "FROM a\nARG d\nENV e=$d",
        "FROM a AS b\nENV c=1\nFROM b\nUSER $c",
        "FROM a\nRUN $b",
        "FROM scratch\nUSER ${b:-c}",
        "ARG v=1\nFROM a:$v",
        "ARG v\nFROM a:${v:-1}",
        "ARG b=scratch\nFROM $b",
        "FROM a\nWORKDIR $HOME\nARG HOME",
    ],
)
def test_what_is_meant_so_is_not_blamed(text: str) -> None:
    """Stages inherit, defaults count, and the shell has variables of its own."""
    assert [finding.rule for finding in lint(parse(text)) if "HOME" not in finding.message] == []


def test_what_images_set_is_defined() -> None:
    """Who knows the environment of an image gets findings that are sure."""
    found = parse("FROM golang:1 AS b\nCOPY a $GOPATH/\nCOPY b $GOPTH/\nFROM b\nUSER $GOPATH$x")

    findings = lint(found, environments={"golang:1": ["GOPATH", "PATH"]})
    assert [finding.message for finding in findings] == [
        "nothing defines $GOPTH here: did you mean $GOPATH?",
        "nothing defines $x here: add ARG x",
    ]


def test_descriptions_are_on_trial() -> None:
    """A rule on trial is applied on request only."""
    text = "# check=experimental={}\n\n# hello\nARG a=1\n# base is the base\nFROM x:$a AS base"
    assert not lint(parse(text.replace("experimental={}", "error=true")))
    for names in ("all", "InvalidDefinitionDescription"):
        found = lint(parse(text.format(names)))
        assert [(finding.rule, finding.position.line) for finding in found] == [
            ("InvalidDefinitionDescription", 4)
        ]


def test_a_file_chooses_its_rules() -> None:
    """A directive skips rules, and a build argument overrules the directive (D06)."""
    text = "# check=skip=jsonargsrecommended,StageNameCasing\nFROM a AS B\nCMD c\nWORKDIR d"
    found = parse(text)

    assert [finding.rule for finding in lint(found)] == ["WorkdirRelativePath"]
    assert not lint(found, Check(skip=ALL))
    assert len(lint(found, Check())) == 3


def test_all_rules_that_text_decides_are_there() -> None:
    """Two of Docker's rules need a context or an image; the rest is here."""
    assert len(RULES) == 19
    assert UNDEFINED_VAR not in RULES
