"""save: images become one tar that is an OCI layout and a Docker archive at once.

The bytes depend on the images and their names alone: entries are sorted, and
headers hold neither times nor owners.
Source: OCI image-spec 1.1 image-layout.md; Docker Image Specification v1.2.
"""

from collections.abc import Iterator, Sequence

import msgspec

from corten.engine.images import tar
from corten.engine.images.archives.layout import NAME_ANNOTATION, REF_ANNOTATION, DockerItem
from corten.engine.images.load import descriptor
from corten.engine.images.remove import is_id
from corten.engine.images.show import on_platform
from corten.engine.images.stores import Stores
from corten.engine.records.images import Image
from corten.errors import DataCorrupted, InvalidInput, NotFound
from corten.oci import codec
from corten.oci.descriptor import Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Index, layers_of
from corten.oci.platform import Platform
from corten.oci.reference import Reference

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class Chosen(msgspec.Struct, frozen=True):
    """An image to save and the names that go with it, sorted."""

    image: Image
    references: tuple[Reference, ...]


def choose(names: Sequence[str], stores: Stores, platforms: Sequence[Platform] = ()) -> list[Chosen]:
    """Return the images that *names* mean: an id, a reference, or a repository with all its tags.

    Raises:
        NotFound: no such image, or one that is for none of *platforms*.
        InvalidInput: not a name, or no names at all.
    """
    if not names:
        raise InvalidInput("name at least one image to save")
    found: dict[Digest, set[Reference]] = {}
    for name in names:
        for image, references in _meant(name, stores):
            on_platform(image, name, platforms, stores)
            found.setdefault(image.id, set()).update(references)
    return [Chosen(stores.images.get(key), tuple(sorted(found[key]))) for key in sorted(found)]


def _meant(name: str, stores: Stores) -> list[tuple[Image, list[Reference]]]:
    repository = _bare_repository(name)
    tags = stores.images.tags(repository) if repository else {}
    if tags:
        return [(image, [Reference.parse(reference)]) for reference, image in tags.items()]
    image = stores.images.find(name)
    if is_id(name, image):
        return [(image, [])]
    return [(image, [Reference.parse(name)])]


def _bare_repository(name: str) -> str:
    """Return the full repository if *name* has neither tag nor digest, else nothing."""
    try:
        reference = Reference.parse(name, default_tag="")
    except InvalidInput:
        return ""
    return "" if reference.tag or reference.digest else reference.repository


def archive(chosen: Sequence[Chosen], stores: Stores) -> Iterator[bytes]:
    """Yield the tar of *chosen*, under a lease of the caller.

    Raises:
        DataCorrupted: while it runs: a stored blob is missing or shorter than it was.
    """
    yield tar.folder("blobs/") + tar.folder("blobs/sha256/")
    for blob in sorted({blob for each in chosen for blob in each.image.blobs}):
        yield from _blob(blob, stores)
    documents = {
        "index.json": _index(chosen, stores).raw,
        "manifest.json": codec.encode([_docker(each, stores) for each in chosen]),
        "oci-layout": _LAYOUT,
        "repositories": codec.encode(_repositories(chosen)),
    }
    for name, data in documents.items():
        yield tar.header(name, len(data)) + data + tar.padding(len(data))
    yield tar.END


def _path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _blob(digest: Digest, stores: Stores) -> Iterator[bytes]:
    try:
        size = left = stores.content.info(digest).size
        file = stores.content.open(digest)
    except NotFound:
        raise DataCorrupted(f"blob {digest} of the image is missing: load the image again") from None
    with file:
        yield tar.header(_path(digest), size)
        while left:
            data = file.read(min(tar.CHUNK, left))
            if not data:
                raise DataCorrupted(f"blob {digest} is damaged on disk: load the image again")
            left -= len(data)
            yield data
    if padding := tar.padding(size):
        yield padding


def _index(chosen: Sequence[Chosen], stores: Stores) -> Index:
    return Index.make([entry for each in chosen for entry in _entries(each, stores)])


def _entries(each: Chosen, stores: Stores) -> Iterator[Descriptor]:
    """Yield one descriptor for each name, or a bare one."""
    platform = stores.config(each.image.id).platform
    bare = msgspec.structs.replace(descriptor(each.image), platform=platform)
    for reference in each.references:
        names = {NAME_ANNOTATION: str(reference)}
        if reference.tag:
            names[REF_ANNOTATION] = reference.tag
        yield msgspec.structs.replace(bare, annotations=names)
    if not each.references:
        yield bare


def _docker(each: Chosen, stores: Stores) -> DockerItem:
    image = each.image
    layers = layers_of(stores.manifest(image.manifest), stores.config(image.id))
    return DockerItem(
        config=_path(image.id),
        repo_tags=tuple(reference.familiar for reference in each.references if reference.tag) or None,
        layers=tuple(_path(layer.descriptor.digest) for layer in layers),
        layer_sources={str(layer.diff_id): layer.descriptor for layer in layers},
    )


def _repositories(chosen: Sequence[Chosen]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for each in chosen:
        for reference in each.references:
            if reference.tag:
                found.setdefault(reference.name, {})[reference.tag] = each.image.id.hex
    return found
