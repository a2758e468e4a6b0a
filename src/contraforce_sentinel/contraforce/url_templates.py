"""Templates that make a ticket number clickable: they only decorate, so a bad one is told and left out."""

from typing import Any

from contraforce_sentinel.contraforce.ticket_systems import NAMES
from contraforce_sentinel.domain.comments import is_url_template


def good_templates(value: Any) -> tuple[dict[str, str], str]:
    """Return the good templates by ticket system, and what is wrong with the others, without a value."""
    if not isinstance(value, dict):
        return {}, "must be a JSON object"
    problems = {system: _problem(system, template) for system, template in value.items()}
    good = {system: template for system, template in value.items() if not problems[system]}
    return good, ", ".join(sorted({problem for problem in problems.values() if problem}))


def _problem(system: str, template: object) -> str:
    """Say what is wrong with one template, nothing if it is good."""
    if system not in NAMES:
        *others, last = NAMES
        return f"has a key that is not {', '.join(others)} or {last}"
    if not isinstance(template, str) or not is_url_template(template):
        return f"needs an https URL with {{id}} or {{number}} and no other braces for {system}"
    return ""
