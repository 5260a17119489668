"""An engine's images as a source of a registry: read beside the engine, never written."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from corten.core.content.local import LocalContentStore
from corten.engine.records.database import Database
from corten.engine.records.images import Image, ImageRepository
from corten.errors import NotFound, Unavailable
from corten.oci import codec
from corten.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Index, Manifest, ManifestFields
from corten.oci.reference import Reference
from corten.serve.daemon.engine_images import EngineSource

LAYER = b"layer " * 1000


class Engine:
    """What an engine keeps: blobs and records."""

    def __init__(self, root: Path) -> None:
        self.content = LocalContentStore(root / "content")
        self.database = Database(root / "engine.db")
        self.images = ImageRepository(self.database)

    def store(self, data: bytes) -> Digest:
        """Store a blob."""
        with self.content.ingest() as ingest:
            ingest.write(data)
        return ingest.digest

    def add(self, text: str, *names: str) -> Image:
        """Record an image that differs by *text*, with an index around its manifest."""
        config, layer = self.store(text.encode()), self.store(LAYER)
        manifest = Manifest.make(
            Descriptor(media_type=OCI_CONFIG, digest=config, size=len(text)),
            [Descriptor(media_type=OCI_LAYER, digest=layer, size=len(LAYER))],
        )
        size = len(manifest.raw)
        index = Index.make([Descriptor(media_type=OCI_MANIFEST, digest=self.store(manifest.raw), size=size)])
        image = Image(
            id=config,
            manifest=manifest.digest,
            manifest_size=size,
            manifest_type=OCI_MANIFEST,
            layers=(layer,),
            diff_ids=(layer,),
            layer_sizes=(1,),
            documents=(self.store(index.raw),),
        )
        return self.images.put(image, map(Reference.parse, names))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine's state."""
    made = Engine(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def source(tmp_path: Path, engine: Engine) -> Iterator[EngineSource]:
    """The source over it."""
    made = EngineSource(str(tmp_path))
    yield made
    made.close()


def test_serves_images_by_tag_and_digest(engine: Engine, source: EngineSource) -> None:
    """Manifest, index, configuration and layer come out byte for byte."""
    image = engine.add("{}", "debian:12")
    for repository in ("library/debian", "debian"):
        held = source.manifest(repository, "12")
        assert (held.digest, held.media_type) == (image.manifest, OCI_MANIFEST)
        assert Digest.of(held.raw) == image.manifest
        assert source.manifest(repository, image.documents[0]).media_type == OCI_INDEX
        for digest in (image.id, image.layers[0]):
            found = source.blob(repository, digest)
            assert Digest.of(b"".join(source.read(digest, 0, found.size))) == digest
            assert found.path is not None
            assert Digest.of(Path(found.path).read_bytes()) == digest
    assert b"".join(source.read(image.layers[0], 6, 5)) == b"layer"


def test_sees_what_the_engine_does(engine: Engine, source: EngineSource) -> None:
    """New images, moved tags and removed images show at once."""
    first = engine.add("1", "app:x")
    assert source.manifest("library/app", "x").digest == first.manifest
    second = engine.add("2", "app:x", "app:y")
    assert source.manifest("library/app", "x").digest == second.manifest
    assert source.tags("library/app", "", 10) == ["x", "y"]
    engine.images.remove(second.id)
    with pytest.raises(NotFound):
        source.tags("library/app", "", 10)


def test_lists_in_pages(engine: Engine, source: EngineSource) -> None:
    """Repositories and tags come in order, from where the page before ended."""
    engine.add("1", "b:B", "b:a", "b:c", "a:1", "quay.lan:5000/x/y:1")
    assert source.repositories("", 2) == ["library/a", "library/b"]
    assert source.repositories("library/b", 2) == ["quay.lan-5000/x/y"]
    assert source.tags("library/b", "", 2) == ["a", "B"]
    assert source.tags("library/b", "B", 2) == ["c"]


def test_a_repository_holds_only_its_own(engine: Engine, source: EngineSource) -> None:
    """Digests of other repositories, of nothing, and tags that are not there are not found."""
    mine, other = engine.add("1", "mine:1"), engine.add("2", "other:1")
    for reference in (other.manifest, "2", "sha256:nonsense", mine.id):
        with pytest.raises(NotFound):
            source.manifest("library/mine", reference)
    for digest in (other.id, Digest.of(b"nothing")):
        with pytest.raises(NotFound):
            source.blob("library/mine", digest)
    with pytest.raises(NotFound):
        source.manifest("nowhere", "1")


def test_referrers(engine: Engine, source: EngineSource) -> None:
    """A manifest that images are known by shows up under its subject."""
    image = engine.add("1", "app:1")
    subject = Descriptor(media_type=OCI_MANIFEST, digest=image.manifest, size=image.manifest_size)
    empty = Descriptor(media_type=OCI_CONFIG, digest=image.id, size=1)
    fields = ManifestFields(
        schema_version=2, artifact_type="a/signature", config=empty, layers=(), subject=subject
    )
    signature = engine.store(codec.encode(fields))
    assert source.referrers("library/app", image.manifest) == []
    engine.images.put(msgspec.structs.replace(image, documents=(signature,)))
    (found,) = source.referrers("library/app", image.manifest)
    assert (found.digest, found.artifact_type, found.media_type) == (signature, "a/signature", OCI_MANIFEST)
    assert source.referrers("nowhere", image.manifest) == []


def test_there_must_be_an_engine(tmp_path: Path) -> None:
    """A folder without an engine's database is told."""
    with pytest.raises(Unavailable, match="no engine"):
        EngineSource(str(tmp_path))
