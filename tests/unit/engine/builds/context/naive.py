"""The rules of ignore files as Docker documents them, in the plainest way: what the real thing is compared with."""

import re


def matches(pattern: str, path: str) -> bool:
    """Tell whether the whole of *path* matches *pattern*."""
    if re.fullmatch(r"\*\*[^/*?\[\\][^*?\[\\]*", pattern):
        return path.endswith(pattern[2:])
    return _from(pattern, path)


def _from(pattern: str, path: str) -> bool:
    if not pattern:
        return not path
    if pattern == "**":
        return True
    if pattern.startswith("**"):
        rest = pattern[3:] if pattern.startswith("**/") else pattern[2:]
        if not rest:
            return True
        behind_slashes = [path[at + 1 :] for at, sign in enumerate(path) if sign == "/"]
        return any(_from(rest, tail) for tail in [path, *behind_slashes])
    if pattern.startswith("*"):
        return any(_from(pattern[1:], path[at:]) for at in range(len(path) + 1) if "/" not in path[:at])
    if not path:
        return False
    if pattern.startswith("["):
        end = pattern.index("]", 3 if pattern.startswith("[^") else 2)
        group = re.compile(pattern[: end + 1])
        return group.match(path[0]) is not None and _from(pattern[end + 1 :], path[1:])
    if pattern.startswith("?"):
        return path[0] != "/" and _from(pattern[1:], path[1:])
    pattern = pattern.removeprefix("\\")
    return pattern[0] == path[0] and _from(pattern[1:], path[1:])


def cleaned(pattern: str) -> str:
    """Return *pattern* without empty and ``.`` parts, and ``..`` taken back."""
    parts: list[str] = []
    for part in pattern.split("/"):
        if part == ".." and (pattern.startswith("/") or (parts and parts[-1] != "..")):
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def rules(lines: list[str]) -> list[tuple[bool, str]]:
    """Return the patterns of an ignore file of *lines*, each with whether it is an exception."""
    found = []
    for line in lines:
        pattern = line.strip(" ")
        if not line.startswith("#") and pattern:
            exception = pattern.startswith("!")
            found.append((exception, cleaned(pattern[exception:].strip(" "))))
    return [rule for rule in found if rule[1]]


def ignores(lines: list[str], path: str) -> bool:
    """Tell whether an ignore file of *lines* leaves *path* out."""
    left_out, covering = False, set[int]()
    names = path.split("/")
    for folder in ("/".join(names[: at + 1]) for at in range(len(names))):
        left_out, hits = False, set[int]()
        for number, (exception, pattern) in enumerate(rules(lines)):
            changes = exception == left_out and matches(pattern, folder)
            if changes or number in covering:
                hits.add(number)
                left_out = not exception
        covering = hits
    return left_out
