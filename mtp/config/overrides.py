"""Options of the command line: --config.loss.emd_r=1 and its other spellings."""

import re
from collections.abc import Sequence
from typing import Any

from mtp.config.kinds import Boolean
from mtp.config.records import OPTIONS

_OPTION = re.compile(r"--?(no)?config\.([^=]+)(?:=(.*))?", re.DOTALL)


def split(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The other arguments, and the options with their values, the last one where one is given twice.

    Spellings: --config.x=VALUE, --config.x VALUE, and for a Boolean --config.x and --noconfig.x. A text that is no
    value of its option's kind stays a text, and an unknown option is kept: `check` reports both.
    """
    rest: list[str] = []
    given: dict[str, Any] = {}
    coming = iter(arguments)
    for argument in coming:
        found = _OPTION.fullmatch(argument)
        if not found:
            rest.append(argument)
            continue
        negated, name, text = found.groups()
        option = OPTIONS.get(name)
        is_switch = option is not None and isinstance(option.kind, Boolean)
        if negated or (text is None and is_switch):
            text = "false" if negated else "true"
        elif text is None:
            text = next(coming, "")
        given[name] = option.kind.read(text) if option else text
    return rest, given
