"""``--check``: all rules over one Dockerfile.

The names of the rules are those of Docker's build checks, so that ``check=``
directives mean the same here. Two of Docker's rules need more than text and
are left to who has it: CopyIgnoredFile (the context) and
InvalidBaseImagePlatform (the image).
"""

from collections.abc import Callable, Iterator, Mapping

from corten.engine.builds.dockerfile.directives import ALL, Check
from corten.engine.builds.dockerfile.lint import meaning, style, variables
from corten.engine.builds.dockerfile.lint.finding import Finding
from corten.engine.builds.dockerfile.lint.variables import Environments
from corten.engine.builds.dockerfile.stages import Dockerfile

_Rule = Callable[[Dockerfile], Iterator[Finding]]
RULES: Mapping[str, _Rule] = {
    "ConsistentInstructionCasing": style.consistent_instruction_casing,
    "DuplicateStageName": style.duplicate_stage_name,
    "ExposeInvalidFormat": style.expose_invalid_format,
    "ExposeProtoCasing": style.expose_proto_casing,
    "FromAsCasing": style.from_as_casing,
    "FromPlatformFlagConstDisallowed": style.from_platform_flag_const,
    "InvalidDefaultArgInFrom": variables.invalid_default_arg_in_from,
    "InvalidDefinitionDescription": style.invalid_definition_description,
    "JSONArgsRecommended": meaning.json_args_recommended,
    "LegacyKeyValueFormat": style.legacy_key_value_format,
    "MaintainerDeprecated": style.maintainer_deprecated,
    "MultipleInstructionsDisallowed": meaning.multiple_instructions,
    "NoEmptyContinuation": style.no_empty_continuation,
    "RedundantTargetPlatform": style.redundant_target_platform,
    "ReservedStageName": style.reserved_stage_name,
    "SecretsUsedInArgOrEnv": style.secrets_in_arg_or_env,
    "StageNameCasing": style.stage_name_casing,
    "UndefinedArgInFrom": variables.undefined_arg_in_from,
    "WorkdirRelativePath": meaning.workdir_relative_path,
}
UNDEFINED_VAR = "UndefinedVar"  # the one that can use knowledge about images
EXPERIMENTAL = frozenset({"InvalidDefinitionDescription"})


def applies(rule: str, check: Check) -> bool:
    """Return whether a ``check`` setting leaves a rule in force."""
    if check.skip == ALL or rule.lower() in {name.lower() for name in check.skip}:
        return False
    wanted = {name.lower() for name in check.experimental}
    return rule not in EXPERIMENTAL or check.experimental == ALL or rule.lower() in wanted


def lint(
    dockerfile: Dockerfile, check: Check | None = None, environments: Environments | None = None
) -> tuple[Finding, ...]:
    """Return what the rules find, in the order of the file.

    Args:
        dockerfile: A file that parses.
        check: What a build argument says instead of the file's directive.
        environments: Names of the variables that base images set, by the
            reference in FROM; images that are not there may set any, and a
            finding about their stages says so.
    """
    setting = dockerfile.directives.check if check is None else check
    found = [
        finding for rule, find in RULES.items() if applies(rule, setting) for finding in find(dockerfile)
    ]
    if applies(UNDEFINED_VAR, setting):
        found += variables.undefined_var(dockerfile, environments or {})
    return tuple(sorted(found, key=lambda one: (one.position.line, one.position.column, one.rule)))
