"""Names of containers: which are allowed, and one for a container that was given none."""

import random
import re
from collections.abc import Callable

from corten.errors import InvalidInput

_ALLOWED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_ATTEMPTS = 32


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADJECTIVES = _words("""
agile amber ample arctic autumn azure balmy bold brave breezy bright brisk broad calm candid cheery civil
clear clever coastal copper cosmic cosy crisp curious daring deep dapper eager early earnest easy fair fearless
festive fleet fond frank free fresh frosty gentle gilded glad golden grand green happy hardy hearty honest humble
jolly jovial keen kind lasting level lively loyal lucid lucky lunar mellow merry mighty mild misty modest neat
nimble noble patient placid plucky polished proud prudent quick quiet ready robust rosy rustic sage sincere sleek
smart snowy solid spry stable steady stoic sturdy sunny swift tidy tranquil upbeat vivid warm wise witty zesty
""")

NOUNS = _words("""
acorn agate anchor antelope anvil badger basalt beacon beaver birch bison bobcat bramble buoy canyon cedar chisel
clover comet condor coral cormorant crane cricket cypress delta dolphin dragonfly egret elm ermine falcon fern
finch fjord flint fox garnet gecko geyser glacier gorge granite grouse gull hammer harbour hare hawk hazel heron
ibex iris ivy jackdaw jasper juniper kestrel kettle kingfisher ladder lagoon lantern lark lemur lichen linden lynx
magpie mallet maple marble marmot marten meadow meteor moss narwhal nettle newt oak onyx opal orchid osprey otter
owl panda pebble pelican petrel pine plover pliers plum prairie puffin quartz quail raven reef robin rowan salmon
sandpiper sequoia shale skylark slate sparrow spruce starling stoat stork summit swallow swan tapir teal thistle
thrush topaz trowel trout tulip tundra turtle valley viper walnut walrus warbler weasel willow wombat wren yew
""")


def valid(name: str) -> str:
    """Return *name* without its leading slash, checked.

    Raises:
        InvalidInput: the name has characters that Docker does not allow, or fewer than two.
    """
    plain = name.removeprefix("/")
    if not _ALLOWED.fullmatch(plain):
        raise InvalidInput(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return plain


def generate(taken: Callable[[str], bool]) -> str:
    """Return a name of the form ``adjective_noun`` that is not *taken*.

    When most of them are, a number is added.
    """
    for _ in range(_ATTEMPTS):
        name = f"{random.choice(ADJECTIVES)}_{random.choice(NOUNS)}"
        if not taken(name):
            return name
    while taken(numbered := f"{name}{random.randrange(10**6)}"):
        pass
    return numbered
