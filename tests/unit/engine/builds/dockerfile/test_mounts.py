"""``RUN --mount``: every type, every option, and what does not fit."""

import pytest

from corten.engine.builds.dockerfile.lines import Position
from corten.engine.builds.dockerfile.mounts import (
    BindMount,
    CacheMount,
    Mount,
    SecretMount,
    SshMount,
    TmpfsMount,
    read_flag,
    typed,
)
from corten.errors import InvalidInput

HERE = Position("D", 2, 5)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("target=/a", BindMount(target="/a")),
        ("dst=a,src=/b,from=c,rw", BindMount(target="a", source="/b", from_="c", read_only=False)),
        ("type=bind,destination=/a,ro=false", BindMount(target="/a", read_only=False)),
        ("type=bind,destination=/a,rw=false", BindMount(target="/a", read_only=True)),
        ('TYPE=Bind,"target=/a,b"', BindMount(target="/a,b")),
        ("type=cache,target=/a/", CacheMount(target="/a/", id="/a")),
        (
            "type=cache,target=/a,id=x,sharing=LOCKED,from=s,source=/y,mode=0700,uid=1,gid=2,ro",
            CacheMount(
                target="/a",
                id="x",
                sharing="locked",
                from_="s",
                source="/y",
                mode=0o700,
                uid=1,
                gid=2,
                read_only=True,
            ),
        ),
        ("type=tmpfs,target=/a", TmpfsMount(target="/a")),
        ("type=tmpfs,target=/a,size=64m", TmpfsMount(target="/a", size=64 << 20)),
        ("type=secret,id=a", SecretMount(id="a", target="/run/secrets/a")),
        ("type=secret,source=x/a", SecretMount(id="x/a", target="/run/secrets/a")),
        ("type=secret,target=/x/a,required", SecretMount(id="a", target="/x/a", required=True)),
        ("type=secret,id=a,env=A", SecretMount(id="a", env="A")),
        (
            "type=secret,id=a,env=A,target=/b,mode=440,uid=5,gid=6,required=0",
            SecretMount(id="a", env="A", target="/b", mode=0o440, uid=5, gid=6),
        ),
        ("required,type=ssh", SshMount(required=True)),
        ("type=ssh,id=k,target=/s,mode=666", SshMount(id="k", target="/s", mode=0o666)),
    ],
)
def test_each_type_has_its_options(text: str, mount: Mount) -> None:
    """Names have aliases, keys have any case, and defaults are Docker's (M01 to M07)."""
    assert typed(read_flag(text, HERE)) == mount


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'expected --mount=KEY=VALUE,..., found ""'),
        ('"a', "expected --mount=KEY=VALUE,..., found"),
        ("type=bnd,target=/a", 'unknown mount type "bnd": did you mean bind?'),
        ("tagret=/a", 'unknown key "tagret" of --mount: did you mean target?'),
        ("target", "expected target=VALUE in --mount, found target alone"),
        ("type=bind", "expected target=PATH, a place below the root, in --mount"),
        ("target=/", "expected target=PATH, a place below the root"),
        ("target=/a/..", "expected target=PATH, a place below the root"),
        ("target=/a,from=$x", "from takes no variable"),
        ("target=/a,mode=755", "a mount of type bind takes no mode: remove it"),
        ("target=/a,required", "a mount of type bind takes no required"),
        ("type=cache,target=/a,size=1", "a mount of type cache takes no size"),
        ("type=cache,target=/a,sharing=all", "expected sharing=shared, private or locked, found"),
        ("type=cache,target=/a,mode=999", 'expected an octal number, found "999" in --mount'),
        ("type=cache,target=/a,uid=root", 'expected a number, found "root" in --mount'),
        ("type=tmpfs,target=/a,size=big", "expected a size such as 64m"),
        ("type=tmpfs,target=/a,env=X", "a mount of type tmpfs takes no env"),
        ("type=secret", "expected id=NAME, target=PATH or env=NAME in --mount"),
        ("type=secret,id=a,source=b", "expected id or source, found both"),
        ("type=secret,id=a,from=b", "a mount of type secret takes no from"),
        ("type=secret,id=a,required=maybe", "expected true or false"),
        ("type=ssh,source=a", "a mount of type ssh takes no source"),
        ("target=/a,ro=x", "expected true or false"),
        ("target=/a,propagation=shared", 'unknown key "propagation" of --mount'),
    ],
)
def test_what_does_not_fit_is_refused(text: str, message: str) -> None:
    """The message points at the flag and says what to write (M07, R09)."""
    with pytest.raises(InvalidInput) as failure:
        read_flag(text, HERE)
    assert str(failure.value).startswith(f"D:2:5: {message}")


def test_variables_wait() -> None:
    """A flag with a variable is judged when its value is known; ``from`` is known at once."""
    flag = read_flag("type=$kind,target=/a,from=base", HERE)

    assert flag.has_variables
    assert flag.from_ == "base"
