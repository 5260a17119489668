"""SHA-crypt against hashes that the C library's crypt(3) made."""

import pytest

from corten.serve.registry.access import sha_crypt

MADE = [
    ("hello", "$5$abcdefgh$UUoko/Tf0b.8LrDH6BE28ZvVbc7xd//GfzsD0NKugU7"),
    (
        "hello",
        "$6$abcdefgh$bp46WUxDu2cphMRE0PvVJlqas2imuSq186YS793XKfmqn9XUEL17HECskUTZInaNigNndLLYc7A6yWBmFEFn3/",
    ),
    (
        "",
        "$6$rounds=1000$saltsaltsalt$jxnogIQ/ZL1VZvOq.y4pEmHbq9HrJCPi245SX3By9oliRmTRmr27wLZvHrX/a3nPa2M9z4voBU0NX95w6kzQO/",
    ),
    ("pässword " * 9, "$5$rounds=1234$0123456789abcdef$C/ejKJkQ0kvFRlP9AR1J.lxYM5NWdh71JEgzYsRQiR4"),
]


@pytest.mark.parametrize(("password", "stored"), MADE)
def test_makes_what_the_c_library_makes(password: str, stored: str) -> None:
    """Both digests, any length of password and salt, any number of rounds."""
    assert sha_crypt.understands(stored)
    assert sha_crypt.same_settings(password.encode(), stored) == stored.rpartition("$")[2]


def test_another_password_gives_another_hash() -> None:
    """One letter changes all."""
    stored = MADE[0][1]
    assert sha_crypt.same_settings(b"hellp", stored) != stored.rpartition("$")[2]


@pytest.mark.parametrize("stored", ["", "$1$abc$def", "$2y$05$" + "a" * 53, "$5$salt", "{SHA}abc", "plain"])
def test_other_schemes_are_not_understood(stored: str) -> None:
    """Nothing else is taken for SHA-crypt."""
    assert not sha_crypt.understands(stored)
