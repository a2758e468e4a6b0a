"""Words of the validating library, which no person should read in an answer or a problem."""

import re
from typing import get_args

from pydantic_core.core_schema import ErrorType

_WORDS = [name for name in get_args(ErrorType) if "_" in name]
_WORDS += ["Value error", "Input should", "Field required", "pydantic", "validation"]


def library_words(text: str) -> list[str]:
    """Return those that a text has."""
    return [word for word in _WORDS if re.search(rf"\b{word}\b", text)]
