"""Containers: all verbs on containers under one name, gathered from the modules that have them."""

from corten.core.runtime.runtime import Exit
from corten.engine.containers.commit import Committing
from corten.engine.containers.create import Registry
from corten.engine.containers.execs import Execs
from corten.engine.containers.lifecycle import Lifecycle
from corten.engine.containers.observe import Observation
from corten.engine.containers.parts import Parts
from corten.engine.containers.prune import Pruning
from corten.engine.containers.runs import Runs
from corten.engine.containers.start import Starter
from corten.engine.containers.streams import Terminal
from corten.engine.containers.update import Updating


class Containers:
    """The verbs, each bound where it is written; no logic of its own."""

    def __init__(self, parts: Parts) -> None:
        starter = Starter(parts)
        starter.prepare()
        self.runs = Runs(parts, starter)
        self.lifecycle = Lifecycle(parts, self.runs)
        self.execs = Execs(parts, starter)
        registry = Registry(parts, self.lifecycle, self.runs)
        observation, terminal = Observation(parts), Terminal(parts)
        self.create, self.rename, self.remove = registry.create, registry.rename, registry.remove
        self.get, self.list = registry.get, registry.list
        self.start, self.stop, self.restart = (
            self.lifecycle.start,
            self.lifecycle.stop,
            self.lifecycle.restart,
        )
        self.kill, self.wait = self.lifecycle.kill, self.lifecycle.wait
        self.pause, self.unpause = self.lifecycle.pause, self.lifecycle.unpause
        self.logs, self.top, self.export = observation.logs, observation.top, observation.export
        self.stats, self.size = observation.stats, observation.size
        self.places, self.changes = observation.places, observation.changes
        self.attach, self.resize = terminal.attach, terminal.resize
        self.commit, self.prune = Committing(parts).commit, Pruning(parts, registry).prune
        self.update = Updating(parts, parts.mounting, parts.live).update

    def task_ended(self, event: Exit) -> None:
        """Take note of the end of a task, a container's or an exec's."""
        if self.execs.owns(event.id):
            self.execs.ended(event)
        else:
            self.runs.ended(event)
