"""Where this machine gets its Debian packages: apt's own configuration, read and narrowed.

A base image is made from the archive that the machine itself uses, so that it
works wherever ``apt-get install`` works: behind a mirror, offline, with keys of
one's own. Third parties are left out.
Source: sources.list(5).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from corten.errors import NotFound

_ALIASES = frozenset({"stable", "oldstable", "oldoldstable", "testing", "unstable", "sid"})
_ONE_LINE = re.compile(r"(?P<type>deb|deb-src)\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<uri>\S+)\s+(?P<rest>.+)")
_OPTION = re.compile(r"([A-Za-z-]+)\s*[+-]?=\s*(\S+)")
_NAMES = {
    "arch": "Architectures",
    "signed-by": "Signed-By",
    "trusted": "Trusted",
    "check-valid-until": "Check-Valid-Until",
    "valid-until-max": "Valid-Until-Max",
    "check-date": "Check-Date",
    "allow-insecure": "Allow-Insecure",
    "allow-weak": "Allow-Weak",
}
_KEPT = {name.lower(): name for name in _NAMES.values()} | {"lang": "Languages"}
_DEBIAN = re.compile(r"(?<![a-z])debian(?![a-z])")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One stanza of sources: every URI with every suite. *options* are deb822 fields."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: dict[str, str] = {}

    def deb822(self) -> str:
        """Return the stanza as sources.list(5) writes it."""
        fields = {
            "Types": "deb",
            "URIs": " ".join(self.uris),
            "Suites": " ".join(self.suites),
            "Components": " ".join(self.components),
            **self.options,
        }
        return "".join(f"{name}: {value}\n" for name, value in fields.items())

    @property
    def keyring(self) -> str:
        """Return the path of the file of keys, empty for none or for keys written out in place."""
        value = self.options.get("Signed-By", "").strip()
        return value if value.startswith("/") and "\n" not in value else ""


def read(folder: Path) -> list[Source]:
    """Return what is enabled in ``sources.list`` and ``sources.list.d`` of an apt *folder*."""
    files = [folder / "sources.list"]
    if (folder / "sources.list.d").is_dir():
        files += sorted((folder / "sources.list.d").iterdir())
    found: list[Source] = []
    for file in files:
        if file.suffix in (".list", ".sources") and file.is_file():
            text = file.read_text(errors="replace")
            found += parse_deb822(text) if file.suffix == ".sources" else parse_list(text)
    return found


def parse_list(text: str) -> Iterator[Source]:
    """Yield the binary sources of one-line format; malformed lines are skipped, as apt would fail on them."""
    for line in text.splitlines():
        found = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if found is None or found["type"] != "deb":
            continue
        suite, *components = found["rest"].split()
        options = {name.lower(): value for name, value in _OPTION.findall(found["options"] or "")}
        yield Source(
            uris=(found["uri"],),
            suites=(suite,),
            components=tuple(components),
            options={
                _NAMES[name]: value.replace(",", " ") for name, value in options.items() if name in _NAMES
            },
        )


def parse_deb822(text: str) -> Iterator[Source]:
    """Yield the enabled binary sources of deb822 format."""
    for stanza in _stanzas(text):
        if stanza.get("enabled", "yes").lower() in ("no", "false", "0", "off"):
            continue
        if "deb" in stanza.get("types", "").split() and stanza.get("suites"):
            yield Source(
                uris=tuple(stanza.get("uris", "").split()),
                suites=tuple(stanza["suites"].split()),
                components=tuple(stanza.get("components", "").split()),
                options={_KEPT[name]: value for name, value in stanza.items() if name in _KEPT},
            )


def _stanzas(text: str) -> Iterator[Mapping[str, str]]:
    """Yield the fields of each stanza by lower-case name; continuation lines stay as they are."""
    fields: dict[str, str] = {}
    last = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields = {}
        elif line[0].isspace() and last in fields:
            fields[last] += "\n" + line
        else:
            name, _, value = line.partition(":")
            last = name.strip().lower()
            fields[last] = value.strip()


def for_suite(sources: Iterable[Source], suite: str, codename: str) -> list[Source]:
    """Return where packages of *suite* come from, with its updates and security fixes.

    Args:
        sources: What the machine uses.
        suite: The release wanted.
        codename: The release that the machine runs; where *sources* do not
            name *suite*, those of this release are taken with its name replaced.

    Raises:
        NotFound: the machine uses no Debian archive that could have it.
    """
    known = [source for source in sources if "main" in source.components]
    known = [source for source in known if _is_debian(source)] or known
    found = _narrowed(known, suite, suite)
    if not found:
        bases = [codename, *sorted(_ALIASES)]
        found = next((made for base in bases if (made := _narrowed(known, base, suite))), [])
    if not any(suite in source.suites for source in found):
        raise NotFound(f"archive of Debian {suite} in /etc/apt (add one to sources.list.d)", suite)
    return found


def _is_debian(source: Source) -> bool:
    return any(_DEBIAN.search(uri) for uri in source.uris)


def _narrowed(sources: Iterable[Source], base: str, suite: str) -> list[Source]:
    """Return *sources* with the suites of *base* alone, under the name of *suite*, and only ``main``."""
    wanted = {base: suite}
    if suite not in ("sid", "unstable", "experimental"):
        wanted |= {f"{base}{part}": f"{suite}{part}" for part in ("-updates", "-security", "/updates")}
    found = []
    for source in sources:
        suites = tuple(wanted[name] for name in source.suites if name in wanted)
        if suites:
            found.append(msgspec.structs.replace(source, suites=suites, components=("main",)))
    return found
