"""``--format``: the part of Go's text/template that Docker's documentation uses.

Text with actions in ``{{ }}`` is cut into tokens, parsed into a tree of
nodes, and rendered with a value for the dot. Values are what JSON has, plus
callables for methods with arguments (``.Label "name"``). Missing: define,
template, block, break, continue, html, js, urlquery, complex numbers.

A struct of Go and a map of Go are both an object in JSON. A struct without
the wanted field is a mistake of the template, a map without it is not: the
names in MAPS tell which it is.

Source: Go text/template, package documentation.
"""

from __future__ import annotations

from corten.cli.template_functions import FUNCTIONS, LAZY, NO_VALUE, TemplateError, text, truth, unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

MAPS = frozenset(
    [
        "Annotations",
        "DriverOpts",
        "ExposedPorts",
        "Labels",
        "LogOpts",
        "Networks",
        "Options",
        "PortBindings",
        "Ports",
        "StorageOpt",
        "Sysctls",
        "Tmpfs",
        "Volumes",
    ]
)
WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
BLANK = " \t\r\n"


class Template:
    """A parsed template; rendering changes nothing in it."""

    def __init__(self, source: str) -> None:
        """Parse *source*.

        Raises:
            TemplateError: it is no template; Go's words.
        """
        self._nodes, end = _Parser(source).nodes()
        if end:
            raise TemplateError(f"template: :1: unexpected {{{{{end}}}}}")

    def render(self, dot: Any) -> str:
        """Fill the template with *dot*.

        Raises:
            TemplateError: it asks for something that *dot* does not have.
        """
        out: list[str] = []
        _render(self._nodes, _Scope(dot, {"$": dot}), out)
        return "".join(out)


class _Scope:
    """The dot and the variables; an inner scope sees the outer ones."""

    __slots__ = ("dot", "outer", "variables")

    def __init__(self, dot: Any, variables: dict[str, Any], outer: _Scope | None = None) -> None:
        self.dot, self.variables, self.outer = dot, variables, outer

    def find(self, name: str) -> dict[str, Any]:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.variables:
                return scope.variables
            scope = scope.outer
        raise TemplateError(f"template: :1: undefined variable {name!r}".replace("'", '"'))


class _Node:
    """One piece of a template: text, an action, or a block with its two branches."""

    __slots__ = ("body", "kind", "otherwise", "pipe", "plain")

    def __init__(self, kind: str, plain: str = "", pipe: _Pipe | None = None) -> None:
        self.kind, self.plain, self.pipe = kind, plain, pipe
        self.body: list[_Node] = []
        self.otherwise: list[_Node] = []


class _Pipe:
    """``$a, $b := command | command``; ``assign`` is ``:=``, ``=`` or empty."""

    __slots__ = ("assign", "commands", "names")

    def __init__(self, names: list[str], assign: str, commands: list[list[_Operand]]) -> None:
        self.names, self.assign, self.commands = names, assign, commands

    def value(self, scope: _Scope) -> Any:
        """Run the commands, each with the result of the one before as its last argument."""
        extra: list[Any] = []
        for command in self.commands:
            extra = [_run(command, scope, extra)]
        if self.assign == "=":
            scope.find(self.names[0])[self.names[0]] = extra[0]
        elif self.assign and len(self.names) == 1:
            scope.variables[self.names[0]] = extra[0]
        return extra[0]


class _Operand:
    """A value or a function, and the fields taken from it; ``source`` is how it was written."""

    __slots__ = ("at", "fields", "kind", "source", "value")

    def __init__(self, kind: str, value: Any, fields: list[str], at: int, source: str) -> None:
        self.kind, self.value, self.fields, self.at, self.source = kind, value, fields, at, source

    def error(self, why: str) -> TemplateError:
        """The failure *why*, with the place in the template."""
        return TemplateError(f'template: :1:{self.at}: executing "" at <{self.source}>: {why}')


def _run(command: list[_Operand], scope: _Scope, extra: list[Any]) -> Any:
    first, *rest = command
    if first.kind == "function" and first.value in LAZY:
        return _decide(first.value == "and", rest, scope, extra)
    arguments = [_evaluate(operand, scope, []) for operand in rest] + extra
    if first.kind != "function":
        return _evaluate(first, scope, arguments)
    try:
        value = FUNCTIONS[first.value](*arguments)
    except TemplateError as error:
        raise first.error(str(error)) from None
    except (TypeError, ValueError, AttributeError, KeyError):
        raise first.error(f"error calling {first.value}: wrong number or type of args") from None
    return _fields(first, value, [])


def _decide(wanted: bool, operands: list[_Operand], scope: _Scope, extra: list[Any]) -> Any:
    """``and`` stops at the first false value, ``or`` at the first true one."""
    value: Any = None
    for operand in operands:
        value = _evaluate(operand, scope, [])
        if truth(value) != wanted:
            return value
    return extra[0] if extra else value


def _evaluate(operand: _Operand, scope: _Scope, arguments: list[Any]) -> Any:
    if operand.kind == "dot":
        value = scope.dot
    elif operand.kind == "variable":
        value = scope.find(operand.value)[operand.value]
    elif operand.kind == "pipe":
        value = operand.value.value(scope)
    elif operand.kind == "function":
        return _run([operand], scope, arguments)
    else:
        value = operand.value
    if arguments and not operand.fields:
        raise operand.error("can't give argument to non-function " + operand.source)
    return _fields(operand, value, arguments)


def _fields(operand: _Operand, value: Any, arguments: list[Any]) -> Any:
    """Take the fields of *operand* from *value*, calling what can be called."""
    before = ""
    for at, name in enumerate(operand.fields):
        value = _field(operand, value, name, before)
        before = name
        last = at == len(operand.fields) - 1
        if callable(value):
            value = value(*arguments) if last else value()
        elif last and arguments:
            raise operand.error(f"{name} is not a method but has arguments")
    return value


def _field(operand: _Operand, value: Any, name: str, before: str) -> Any:
    if isinstance(value, dict):
        if name in value:
            return value[name]
        if before in MAPS:
            return None
        for key, item in value.items():  # .ID is written Id in the JSON of the API
            if key.lower() == name.lower():
                return item
        raise operand.error(f'map has no entry for key "{name}"')
    if value is None:
        raise operand.error(f"nil data; no entry for key {name!r}".replace("'", '"'))
    raise operand.error(f"can't evaluate field {name} in type {type(value).__name__}")


def _render(nodes: list[_Node], scope: _Scope, out: list[str]) -> None:
    for node in nodes:
        if node.pipe is None:
            out.append(node.plain)
        elif node.kind == "action":
            value = node.pipe.value(scope)
            if not node.pipe.assign:
                out.append(NO_VALUE if value is None else text(value))
        elif node.kind == "range":
            _range(node, node.pipe, scope, out)
        else:
            inner = _Scope(scope.dot, {}, scope)
            value = node.pipe.value(inner)
            if truth(value) and node.kind == "with":
                inner.dot = value
            _render(node.body if truth(value) else node.otherwise, inner, out)


def _range(node: _Node, pipe: _Pipe, scope: _Scope, out: list[str]) -> None:
    values = pipe.value(_Scope(scope.dot, {}, scope))
    if not truth(values):
        _render(node.otherwise, scope, out)
        return
    for key, value in _pairs(values):
        inner = _Scope(value, {}, scope)
        if len(pipe.names) == 1:
            inner.variables[pipe.names[0]] = value
        elif pipe.names:
            inner.variables.update(zip(pipe.names, (key, value), strict=True))
        _render(node.body, inner, out)


def _pairs(values: Any) -> Iterator[tuple[Any, Any]]:
    """Keys and values in Go's order: maps sorted by key, whole numbers counted."""
    if isinstance(values, dict):
        yield from ((key, values[key]) for key in sorted(values))
    elif isinstance(values, list):
        yield from enumerate(values)
    elif isinstance(values, int) and not isinstance(values, bool):
        yield from ((at, at) for at in range(values))
    else:
        raise TemplateError(f'template: :1: executing "": range can\'t iterate over {text(values)}')


class _Parser:
    """Cuts a template into text and actions and builds the tree."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0  # in the source
        self._trim = False  # the last action ended with -}}

    def nodes(self) -> tuple[list[_Node], str]:
        """Parse up to the end of the block; return its nodes and the action that ended it."""
        found: list[_Node] = []
        while self._at < len(self._source):
            plain = self._plain()
            if plain:
                found.append(_Node("text", plain))
            action, at = self._action()
            if action is None:
                break
            word, _, rest = action.partition(" ")
            if word in ("end", "else"):
                return found, action
            if word in ("if", "with", "range"):
                found.append(self._block(word, rest, at + len(word) + 1))
            elif action:
                found.append(_Node("action", pipe=_Pipeline(action, at).parse()))
        return found, ""

    def _plain(self) -> str:
        """The text up to the next action, trimmed as the actions around it say."""
        end = self._source.find("{{", self._at)
        plain = self._source[self._at : end if end >= 0 else len(self._source)]
        if self._trim:
            plain, self._trim = plain.lstrip(BLANK), False
        if end >= 0 and self._source[end + 2 : end + 3] == "-" and self._source[end + 3 : end + 4] in BLANK:
            plain = plain.rstrip(BLANK)
        self._at = end if end >= 0 else len(self._source)
        return plain

    def _action(self) -> tuple[str | None, int]:
        """What is between the next braces, and where it starts; None at the end of the template."""
        if self._at >= len(self._source):
            return None, self._at
        start = self._at + 2
        if self._source[start : start + 1] == "-" and self._source[start + 1 : start + 2] in BLANK:
            start += 1
        end = _closing(self._source, start)
        self._at = end + 2
        inside = self._source[start:end]
        if inside.endswith("-") and inside[-2:-1] in BLANK:
            inside, self._trim = inside[:-1], True
        action = inside.strip(BLANK)
        if action.startswith("/*"):
            action = ""
        return action, start + len(inside) - len(inside.lstrip(BLANK))

    def _block(self, kind: str, rest: str, at: int) -> _Node:
        node = _Node(kind, pipe=_Pipeline(rest, at).parse())
        node.body, end = self.nodes()
        if end.startswith("else "):  # {{else if x}} is an if inside of the else
            word, _, rest = end[5:].strip().partition(" ")
            node.otherwise = [self._block(word, rest, self._at)]
            return node
        if end == "else":
            node.otherwise, end = self.nodes()
        if end != "end":
            raise TemplateError("template: :1: unexpected EOF")
        return node


def _closing(source: str, start: int) -> int:
    """Where the action that starts at *start* is closed; strings may hold braces."""
    at = start
    while at < len(source):
        if source.startswith("}}", at):
            return at
        if source[at] in '"`':
            at = _string_end(source, at)
        at += 1
    raise TemplateError("template: :1: unclosed action")


def _string_end(source: str, start: int) -> int:
    """The position of the quote that closes the literal at *start*."""
    quote, at = source[start], start + 1
    while at < len(source):
        if source[at] == "\\" and quote == '"':
            at += 1
        elif source[at] == quote:
            return at
        at += 1
    raise TemplateError(f"template: :1: unterminated {'raw ' if quote == '`' else ''}quoted string")


class _Pipeline:
    """Parses what stands inside of one action."""

    def __init__(self, source: str, offset: int) -> None:
        self._source, self._at, self._offset = source, 0, offset

    def parse(self) -> _Pipe:
        """The whole action as a pipeline."""
        pipe = self._pipe()
        if self._at < len(self._source):
            raise TemplateError(f'template: :1: unexpected "{self._source[self._at]}" in operand')
        return pipe

    def _pipe(self) -> _Pipe:
        names, assign = self._assignment()
        commands = [self._command()]
        while self._skip("|"):
            commands.append(self._command())
        return _Pipe(names, assign, commands)

    def _assignment(self) -> tuple[list[str], str]:
        """``$a :=``, ``$a =`` or ``$i, $v :=``, if there is one."""
        before, names = self._at, []
        while self._peek() == "$":
            self._at += 1
            names.append("$" + self._word())
            if not self._skip(","):
                break
            self._blank()
        for assign in (":=", "="):
            if names and self._skip(assign):
                return names, assign
        self._at = before
        return [], ""

    def _command(self) -> list[_Operand]:
        operands: list[_Operand] = []
        while True:
            self._blank()
            if self._peek() in ("", "|", ")"):
                break
            operands.append(self._operand())
        if not operands:
            raise TemplateError("template: :1: missing value for command")
        return operands

    def _operand(self) -> _Operand:
        start, char = self._at, self._peek()
        value: Any = None
        if char == ".":
            kind = "dot"
        elif char == "$":
            self._at += 1
            kind, value = "variable", "$" + self._word()
        elif char == "(":
            self._at += 1
            kind, value = "pipe", self._pipe()
            if not self._skip(")"):
                raise TemplateError("template: :1: unclosed left paren")
        elif char in '"`':
            self._at = _string_end(self._source, self._at) + 1
            kind, value = "literal", unquote(self._source[start : self._at])
        else:
            kind, value = self._name_or_number()
        fields = self._chain() if kind != "literal" else []
        return _Operand(kind, value, fields, self._offset + start, self._source[start : self._at])

    def _name_or_number(self) -> tuple[str, Any]:
        start = self._at
        while self._peek() in WORD or (
            self._peek() in ("+", "-", ".") and self._source[start] not in WORD_START
        ):
            self._at += 1
            if self._at >= len(self._source):
                break
        word = self._source[start : self._at]
        if word in CONSTANTS:
            return "literal", CONSTANTS[word]
        if word in FUNCTIONS or word in LAZY:
            return "function", word
        if word[:1] in WORD_START:
            raise TemplateError(f'template: :1: function "{word}" not defined')
        return "literal", _number(word or self._peek())

    def _chain(self) -> list[str]:
        """The fields after a dot: ``.A.B``; a dot alone has none."""
        fields = []
        while self._peek() == ".":
            self._at += 1
            name = self._word()
            if name:
                fields.append(name)
            elif fields or self._peek() == ".":
                raise TemplateError("template: :1: unexpected <.> in operand")
        return fields

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _word(self) -> str:
        start = self._at
        while self._peek() in WORD and self._peek():
            self._at += 1
        return self._source[start : self._at]

    def _blank(self) -> None:
        while self._peek() in BLANK and self._peek():
            self._at += 1

    def _skip(self, mark: str) -> bool:
        self._blank()
        if self._source.startswith(mark, self._at):
            self._at += len(mark)
            return True
        return False


CONSTANTS: dict[str, Any] = {"true": True, "false": False, "nil": None}
WORD_START = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")


def _number(word: str) -> Any:
    converters: tuple[Callable[[str], Any], ...] = (lambda digits: int(digits, 0), float)
    for convert in converters:
        try:
            return convert(word)
        except ValueError:
            continue
    raise TemplateError(f'template: :1: unexpected "{word}" in operand')
