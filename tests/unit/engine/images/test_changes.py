"""Changes: Dockerfile instructions that import takes."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.images.changes import apply_changes
from corten.errors import InvalidInput
from corten.oci import codec
from corten.oci.image import Defaults


def changed(*changes: str) -> dict[str, Any]:
    """Return the members that *changes* set."""
    made: dict[str, Any] = msgspec.json.decode(codec.encode(apply_changes(Defaults(), changes)))
    return made


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (['CMD ["a", "b"]'], {"Cmd": ["a", "b"]}),
        (["cmd echo hi"], {"Cmd": ["/bin/sh", "-c", "echo hi"]}),
        (["CMD [a]"], {"Cmd": ["/bin/sh", "-c", "[a]"]}),
        (["CMD [1]"], {"Cmd": ["/bin/sh", "-c", "[1]"]}),
        (['ENTRYPOINT ["/x"]'], {"Entrypoint": ["/x"]}),
        (['ENV A=1 B="two words"'], {"Env": ["A=1", "B=two words"]}),
        (["ENV A the rest = it"], {"Env": ["A=the rest = it"]}),
        (["ENV A=1", "ENV B=2 A=3"], {"Env": ["A=3", "B=2"]}),
        (
            ["EXPOSE 80 53/udp 10-12"],
            {"ExposedPorts": {f"{p}": {} for p in ("10/tcp", "11/tcp", "12/tcp", "53/udp", "80/tcp")}},
        ),
        (["LABEL a=b c='d e'"], {"Labels": {"a": "b", "c": "d e"}}),
        (["USER 1000:1000"], {"User": "1000:1000"}),
        (['VOLUME ["/a", "/b"]'], {"Volumes": {"/a": {}, "/b": {}}}),
        (["VOLUME /a", "VOLUME /b"], {"Volumes": {"/a": {}, "/b": {}}}),
        (["WORKDIR /a", "WORKDIR b/../c"], {"WorkingDir": "/a/c"}),
        (["WORKDIR a"], {"WorkingDir": "/a"}),
        (["STOPSIGNAL SIGRTMIN+3"], {"StopSignal": "SIGRTMIN+3"}),
        (["ONBUILD RUN x", "ONBUILD RUN y"], {"OnBuild": ["RUN x", "RUN y"]}),
        (["HEALTHCHECK NONE"], {"Healthcheck": {"Test": ["NONE"]}}),
        (
            ["HEALTHCHECK --interval=1m30s --retries=3 CMD curl x"],
            {"Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 90 * 10**9, "Retries": 3}},
        ),
        (['HEALTHCHECK CMD ["curl"]'], {"Healthcheck": {"Test": ["CMD", "curl"]}}),
        (["CMD []"], {"Cmd": []}),
        (['CMD ["a"]', 'ENTRYPOINT ["x"]'], {"Cmd": ["a"], "Entrypoint": ["x"]}),
        (['ENTRYPOINT ["x"]', 'CMD ["a"]'], {"Cmd": ["a"], "Entrypoint": ["x"]}),
        (["USER a\nWORKDIR /w\n\n# a comment"], {"User": "a", "WorkingDir": "/w"}),
        (["ENV A=1 \\\n B=2"], {"Env": ["A=1", "B=2"]}),
    ],
)
def test_instructions(changes: Sequence[str], expected: dict[str, Any]) -> None:
    """Each instruction sets its members as a Dockerfile would."""
    assert changed(*changes) == expected


def test_an_entrypoint_sets_the_command_aside() -> None:
    """The command that was there before is meant for the entrypoint that was there before."""
    before = Defaults(cmd=("a",), entrypoint=("x",))
    assert apply_changes(before, ['ENTRYPOINT ["y"]']) == Defaults(entrypoint=("y",))


def test_the_shell_form_takes_the_images_shell() -> None:
    """A configuration that names a shell is run by that."""
    assert apply_changes(Defaults(shell=("bash", "-c")), ["CMD a b"]).cmd == ("bash", "-c", "a b")


@pytest.mark.parametrize(
    "change",
    [
        "",
        "RUN x",
        "FROM x",
        "CMD",
        "ENV A",
        "ENV =1 x=2",
        "LABEL a='b",
        "EXPOSE x",
        "EXPOSE 70000",
        "EXPOSE 9-1",
        "EXPOSE 80/icmp",
        "USER a b",
        'VOLUME [""]',
        "STOPSIGNAL a b",
        "ONBUILD ONBUILD RUN x",
        "HEALTHCHECK x",
        "HEALTHCHECK CMD",
        "HEALTHCHECK --interval=soon CMD x",
        "HEALTHCHECK --colour=1s CMD x",
        "HEALTHCHECK --retries=x CMD x",
    ],
)
def test_malformed_instructions_are_refused(change: str) -> None:
    """What a Dockerfile would not take either, or what cannot be applied here, is refused."""
    with pytest.raises(InvalidInput):
        changed(change)


@given(
    st.sampled_from(["CMD", "ENV", "LABEL", "EXPOSE", "VOLUME", "HEALTHCHECK", "USER"]), st.text(max_size=30)
)
def test_any_text_is_taken_or_refused(word: str, rest: str) -> None:
    """No text makes the reader fail in another way."""
    try:
        changed(f"{word} {rest}")
    except InvalidInput:
        return
