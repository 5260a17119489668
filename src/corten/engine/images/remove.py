"""remove: take names away, and the image with the last of them.

The rules are Docker's: a name goes alone while others remain; an image that a
running container uses stays, whatever is said; one that a stopped container
uses, or that several repositories name, goes only by force. Unlike Docker's, an
image that others were made from goes like any other: they have its layers too.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from corten.engine.images.stores import Stores
from corten.engine.records.images import Image
from corten.errors import Conflict, InvalidInput, NotFound
from corten.oci.digest import Digest
from corten.oci.reference import Reference

_SHORT = 12  # digits of an id that people see


class User(NamedTuple):
    """A container that was made from an image."""

    id: str
    running: bool


Users = Callable[[Digest], Iterable[User]]
"""Names the containers made from an image."""

Publish = Callable[[str, str, str, Mapping[str, str]], object]
"""Takes type, action, id and attributes of an event; called in the event loop."""

Report = list[dict[str, str]]
"""``{"Untagged": name}`` and ``{"Deleted": id}``, in order."""


def remove(name: str, force: bool, stores: Stores, users: Users, noprune: bool = False) -> Report:
    """Remove the name *name*, or the image that it means, with all that only it needs.

    The images that it was made from go with it, as long as they have no name and
    are not used; unless *noprune*.

    Raises:
        NotFound: no such image.
        InvalidInput: not a name, or the beginning of several ids.
        Conflict: a container uses it, or other repositories name it.
    """
    image = stores.images.find(name)
    report: Report = []
    if is_id(name, image):
        _check_users(image, force, users)
        _check_repositories(image, force)
    else:
        if not force and _is_single(image.references):
            _check_dangling(name, image, users)
        _untag(_named(name, image), stores, report)
        image = stores.images.get(image.id)
        if image.references:
            return report
        if any(user.running or not force for user in users(image.id)):
            return report
    _delete(image, stores, report)
    if not noprune:
        _delete_parents(image, stores, users, report)
    return report


def is_id(name: str, image: Image) -> bool:
    """Tell whether *name*, which found *image*, is (the beginning of) its id; a reference that looks so is none."""
    if not image.id.hex.startswith(name.removeprefix("sha256:")):
        return False
    try:
        return str(Reference.parse(name)) not in image.references
    except InvalidInput:  # a whole id
        return True


def publish_report(report: Report, image: Image, known: Collection[Digest], publish: Publish) -> None:
    """Publish the events of removing *image*; *known* are the ids of the images that were there before."""
    for entry in report:
        if "Untagged" in entry:
            publish("image", "untag", image.id, {"name": entry["Untagged"]})
        elif entry["Deleted"] in known:
            publish("image", "delete", entry["Deleted"], {"name": entry["Deleted"]})


def _is_single(references: Iterable[str]) -> bool:
    """Tell whether at most one tag, and only one repository, names the image."""
    parsed = [Reference.parse(reference) for reference in references]
    repositories = {reference.repository for reference in parsed}
    return len(repositories) <= 1 and sum(1 for reference in parsed if not reference.digest) <= 1


def _named(name: str, image: Image) -> list[str]:
    """Return the references that removing *name* takes away.

    With the last tag of a repository go the digests in it.

    Raises:
        NotFound: it is a digest that the image was not given as a name.
    """
    reference = Reference.parse(name)
    going = [str(reference)] if str(reference) in image.references else []
    if reference.digest:
        if not going:  # it names the image, but is none of the names that it was given
            raise NotFound("image", reference.familiar)
        return going
    others = [Reference.parse(each) for each in image.references if each not in going]
    beside = [each for each in others if each.repository == reference.repository]
    if all(each.digest for each in beside):
        going += [str(each) for each in beside]
    return going


def _untag(references: Iterable[str], stores: Stores, report: Report) -> None:
    for reference in list(references):
        stores.images.untag(reference)
        report.append({"Untagged": Reference.parse(reference).familiar})


def _delete(image: Image, stores: Stores, report: Report) -> None:
    _untag(image.references, stores, report)
    stores.images.remove(image.id)
    stores.discard(image.blobs, image.chain_ids)
    kept = {chain for other in stores.images.all() for chain in other.chain_ids}
    report.append({"Deleted": image.id})
    report.extend({"Deleted": chain} for chain in reversed(image.chain_ids) if chain not in kept)


def _delete_parents(image: Image, stores: Stores, users: Users, report: Report) -> None:
    """Delete what *image* was made from, and so on, until one that has a name, a user or another child."""
    while image.parent is not None:
        known = {each.id: each for each in stores.images.all()}
        parent = known.get(image.parent)
        needed = {each.parent for each in known.values()}
        if parent is None or parent.references or parent.id in needed or any(True for _ in users(parent.id)):
            return
        _delete(parent, stores, report)
        image = parent


def _check_dangling(name: str, image: Image, users: Users) -> None:
    """Refuse to leave an image that is in use without any name."""
    for user in users(image.id):
        raise Conflict(
            f'conflict: unable to remove repository reference "{name}" (must force) - '
            f"container {user.id[:_SHORT]} is using its referenced image {image.short_id}"
        )


def _check_users(image: Image, force: bool, users: Users) -> None:
    found = sorted(users(image.id), key=lambda user: not user.running)
    for user in found:
        if user.running or not force:
            way, state = ("cannot be forced", "running") if user.running else ("must be forced", "stopped")
            raise Conflict(
                f"conflict: unable to delete {image.short_id} ({way}) - "
                f"image is being used by {state} container {user.id[:_SHORT]}"
            )


def _check_repositories(image: Image, force: bool) -> None:
    if image.references and not force and not _is_single(image.references):
        raise Conflict(
            f"conflict: unable to delete {image.short_id} (must be forced) - "
            "image is referenced in multiple repositories"
        )
