"""Reasons and codes: the tables, the code that emits them, and what is made of the tables say the same."""

import ast
import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from io import StringIO
from typing import Final

import pytest
from cli_process import environment, run
from conftest import ROOT
from rich.console import Console
from test_upstream_failures import BEFORE_THE_TICKET, CONTRAFORCE, SENTINEL
from typer.core import TyperGroup
from typer.main import get_command

from contraforce_sentinel.domain.errors import Upstream, UpstreamError
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import (
    CODES,
    EXCEPTIONS_TYPE,
    REASONS,
    SERVICES_CODE,
    Code,
    Explanation,
    Reason,
)
from contraforce_sentinel.domain.schedules import every_step, next_step
from operators_tool.commands import app
from operators_tool.reasons_page import PAGE, page
from operators_tool.records import show_record

DEPLOYED: Final = ROOT / "src" / "contraforce_sentinel"
ROWS: Final = [*REASONS.values(), *CODES.values(), SERVICES_CODE, EXCEPTIONS_TYPE]
COMMANDS: Final = sorted({row.command for row in ROWS if row.command})
WORDS: Final = frozenset({*map(str, Reason), *map(str, Code)})
READS_ONLY: Final = frozenset({"reasons.py", "outages.py"})
"""Modules that name reasons and emit none."""

SENTINELS_OWN: Final = frozenset({("incidents.py", "closed"), ("incidents.py", "redirected")})
"""Words of Sentinel that our reasons are called after."""

NOW: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
INCIDENT: Final = IncidentId.parse(
    "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/rg-(one)"
    "/providers/Microsoft.OperationalInsights/workspaces/law-contoso"
    "/providers/Microsoft.SecurityInsights/incidents/3f1d9a52-7c0e-4b1b-9d5f-6a2f0e8c7b11"
)


@cache
def nodes() -> Sequence[tuple[str, ast.AST]]:
    """Return every node of the deployed package, with its module's name."""
    return [
        (path.name, node) for path in DEPLOYED.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))
    ]


class TestTables:
    """What a row says is there."""

    def test_every_reason_and_every_code_has_its_row_in_the_same_order(self) -> None:
        assert list(REASONS) == list(Reason)
        assert list(CODES) == list(Code)

    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row.meaning[:40])
    def test_a_meaning_is_one_sentence(self, row: Explanation) -> None:
        assert re.fullmatch(r"[A-Z][^.]*(\.[a-z][^.]*)*\.", row.meaning), row.meaning

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_is_one_of_the_tool_with_options_that_it_has(self, command: str) -> None:
        program, name, *arguments = shlex.split(command)
        assert program == "contraforce-sentinel"
        tool = get_command(app)
        assert isinstance(tool, TyperGroup)
        tool.commands[name].make_context(name, arguments)

    @pytest.mark.slow
    async def test_every_command_is_taken_by_the_tool_itself(self) -> None:
        """Which also knows which options go together; without settings it goes no further."""
        shapes = {re.sub(r"(--reason) \S+", r"\1 x", command) for command in COMMANDS}
        for shape in sorted(shapes):
            done = await run(*shlex.split(shape)[1:], env=environment(None), warm=True)
            assert done.code in {1, 4}, (shape, done)

    @pytest.mark.parametrize("reason", Reason)
    def test_a_command_that_names_a_reason_names_the_rows_own(self, reason: Reason) -> None:
        named = re.findall(r"--reason (\S+)", REASONS[reason].command or "")
        assert set(named) <= {reason}

    def test_every_query_is_a_file(self) -> None:
        files = {path.name for path in (ROOT / "infra" / "queries").glob("*.kql")}
        assert {row.query for row in ROWS if row.query} <= files


class TestCode:
    """What the code can emit is what the tables have: no less, no more, in one spelling."""

    @pytest.mark.parametrize("member", [*Reason, *Code], ids=repr)
    def test_it_is_emitted_somewhere(self, member: Reason | Code) -> None:
        named = {
            (node.value.id, node.attr)
            for module, node in nodes()
            if module not in READS_ONLY
            and isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
        }
        assert (type(member).__name__, member.name) in named

    def test_no_other_module_spells_one_out(self) -> None:
        spelled = {
            (module, node.value)
            for module, node in nodes()
            if module != "reasons.py" and isinstance(node, ast.Constant) and node.value in WORDS
        }
        assert spelled == SENTINELS_OWN

    def test_no_text_with_a_gap_makes_one(self) -> None:
        """As f"{upstream}-rejected" does."""
        made = {
            (module, ast.unparse(node))
            for module, node in nodes()
            if isinstance(node, ast.JoinedStr) and self.may_make_a_word(node)
        }
        assert not made

    @staticmethod
    def may_make_a_word(node: ast.JoinedStr) -> bool:
        parts = [str(part.value) if isinstance(part, ast.Constant) else None for part in node.values]
        pattern = "".join(".+" if part is None else re.escape(part) for part in parts)
        has_letters = any(char.isalpha() for part in parts if part for char in part)
        return has_letters and any(re.fullmatch(pattern, word) for word in WORDS)


class TestFailures:
    """Every failure leads to a reason of the table, and every reason of a failure is driven."""

    def test_the_faults_of_every_upstream_lead_to_every_reason_that_a_failure_has(self) -> None:
        """`test_upstream_failures.py` drives these tables through the app and looks at the reasons."""
        driven = {Reason(reason) for _, reason, _, _ in (CONTRAFORCE | SENTINEL).values()}
        driven |= {Reason(reason) for _, _, reason, _ in BEFORE_THE_TICKET.values()}
        elsewhere = {Reason.UNEXPECTED}  # by `test_one_bad_thing.py`
        elsewhere |= {Reason.COMMENT_CONFLICT}  # by the test of what is there after a 409
        assert driven | elsewhere == {reason for reason, _ in every_step()}

    @pytest.mark.parametrize("upstream", Upstream)
    @pytest.mark.parametrize("kind", UpstreamError.__subclasses__())
    def test_no_failure_is_without_a_reason(self, kind: type[UpstreamError], upstream: Upstream) -> None:
        """One that this upstream cannot have is taken for an outage."""
        assert next_step(kind("x", upstream=upstream)) in list(every_step())


class TestReaders:
    """The page, `show` and the queries."""

    def test_the_page_is_made_from_the_tables(self) -> None:
        assert PAGE.read_text() == page(), "run .venv/bin/python -m operators_tool.reasons_page"

    @pytest.mark.parametrize("reason", Reason)
    def test_show_says_what_a_reason_means_who_acts_and_what_to_run(self, reason: Reason) -> None:
        row, lines = REASONS[reason], shown(reason)
        assert lines["meaning"] == row.meaning
        assert lines["who acts"] == row.who
        command = row.command and row.command.replace("INCIDENT", f"'{INCIDENT.arm_id}'")
        assert lines.get("next") == command

    def test_show_says_of_a_held_link_that_a_worker_is_at_it(self) -> None:
        assert shown(Reason.SENTINEL_UNAVAILABLE, held=True)["meaning"] == (
            REASONS[Reason.IN_PROGRESS].meaning
        )

    @pytest.mark.parametrize("reason", [None, "a-reason-of-a-later-version"])
    def test_show_explains_nothing_that_is_not_in_the_table(self, reason: str | None) -> None:
        assert not {"meaning", "who acts", "next"} & shown(reason).keys()

    def test_every_reason_that_a_query_or_an_example_names_is_one(self) -> None:
        queries = [path.read_text() for path in (ROOT / "infra").rglob("*.kql")]
        named = re.findall(r'\bReason\s*[!=]=\s*"([^"]+)"', "".join(queries))
        documents = [
            ROOT / "README.md",
            *(ROOT / "docs").glob("*.md"),
            ROOT / "src/operators_tool/commands.py",
        ]
        for path in documents:
            named += re.findall(r"--state dead --reason ([a-z-]+)", path.read_text())
        assert {"incident-gone", "not-ingested-yet"} <= set(named) <= set(Reason)


def shown(reason: str | None, *, held: bool = False) -> dict[str, str]:
    """Return the lines that `show` prints of a record, as it is read from a store."""
    link = Link(incident_id=INCIDENT, created_at=NOW, updated_at=NOW, reason=reason)
    link = link.claimed(owner="one", now=datetime.now(UTC)) if held else link
    console = Console(file=StringIO(), width=200, markup=False, highlight=False)
    show_record(console, Link.model_validate_json(link.model_dump_json()))
    assert isinstance(console.file, StringIO)
    return {line[:11].strip(): line[11:] for line in console.file.getvalue().splitlines()}
