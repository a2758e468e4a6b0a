"""Every KQL text is right: it parses and binds to the tables, and asks only for what is emitted."""

import re
from pathlib import Path

import pytest
from queries import ROOT, TABLES, Query, bound, queries

from contraforce_sentinel.telemetry.vocabulary import CORRELATION, EVENTS, METRICS, SPANS

pytestmark = pytest.mark.timeout(600)  # only ends what would never end
QUERIES = queries()


@pytest.fixture(scope="module")
def binding() -> dict[str, list[str]]:
    """What the language service objects to, in the queries and in the faults below."""
    return bound({q.place: q.text for q in QUERIES} | {fault: fault for fault in FAULTS})


def test_every_query_parses_and_binds_to_the_tables_it_reads(binding: dict[str, list[str]]) -> None:
    assert {q.place: binding[q.place] for q in QUERIES if binding[q.place]} == {}


FAULTS = {
    'AppEvents | where Naem == "link.dead"': "Naem",
    "AppEvent | count": "AppEvent",
    "AppEvents | summarise count()": "operator",
    "AppMetrics | extend x = summ(Sum)": "summ",
    "SecurityIncident | project IncidentNumber | where Status == 'New'": "Status",
    "AppEvents | summarize count() by incident": "incident",
    "AppDependencies | where DurationMs > ": "Missing expression",
}


def test_a_misspelt_column_table_operator_or_function_fails(binding: dict[str, list[str]]) -> None:
    assert [fault for fault, named in FAULTS.items() if named not in " ".join(binding[fault])] == []


@pytest.mark.deep
def test_every_misspelling_of_one_letter_in_a_column_of_a_query_fails() -> None:
    """Each column that a query reads, once misspelt in it: none gets past the check."""
    columns = ["TimeGenerated", "Name", "Properties", "DurationMs", "IncidentNumber", "ItemCount"]
    misspelt = {
        f"{q.place} {column}": re.sub(rf"\b{column}\b", f"{column}x", q.text, count=1)
        for q in QUERIES
        for column in columns
        if re.search(rf"\b{column}\b", q.code)
    }
    assert len(misspelt) > len(QUERIES)
    assert [name for name, said in bound(misspelt).items() if not said] == []


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_a_query_names_only_events_metrics_and_spans_that_are_emitted(query: Query) -> None:
    told = asked_for(query)
    assert told or not re.search(r"\bApp[A-Z]\w+\b", query.code), "asks for nothing of ours"
    assert told <= EVENTS.keys() | METRICS.keys() | SPANS.keys()


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_a_query_reads_only_dimensions_that_what_it_asks_for_carries(query: Query) -> None:
    dimensions = set(CORRELATION)
    for name in asked_for(query):
        own = EVENTS.get(name) or SPANS.get(name)
        dimensions |= own if own is not None else METRICS[name].dimensions
    assert query.dimensions <= dimensions


def asked_for(query: Query) -> set[str]:
    """Return the names that a query compares `Name` with; all events, where it reads AppEvents without."""
    found: set[str] = set()
    tables = "|".join(TABLES)
    for table, rest in re.findall(rf"\b({tables})\b((?:(?!{tables}).)*)", query.code, re.DOTALL):
        compared: set[str] = set()
        for operator, listed in re.findall(r'\bName (==|in|startswith) (\([^)]*\)|"[^"]*")', rest):
            names = set(re.findall(r'"([^"]*)"', listed))
            if operator == "startswith":
                names = {name for name in EVENTS if any(name.startswith(start) for start in names)}
            compared |= names
        found |= compared or (set(EVENTS) if table == "AppEvents" else set())
    return found


LAST = re.compile(r'Name startswith "link\."(?P<before>[^;]*?)\barg_max\((?P<after>[^;]*)')
"""A statement that takes the last event of an incident, in two halves."""


def last_states(query: Query) -> list[tuple[str, str]]:
    """Return the statements of a query that ask for the last state of incidents."""
    return [(before, after) for before, after in LAST.findall(query.code) if "request.refused" not in before]


def goes_by_state(before: str, after: str) -> bool:
    """Whether a statement looks at events that tell a state alone, and then at the state, not at the name."""
    is_of_states = "isnotempty(outcome)" in before and after.startswith("TimeGenerated, outcome")
    return is_of_states and not re.search(r"\bName\b", after)


def test_the_last_state_of_an_incident_is_what_its_last_event_says_whatever_that_is_called() -> None:
    """Of a linked incident that was merged away the last event is `link.merged`: it counts as linked."""
    found = [(query.place, *statement) for query in QUERIES for statement in last_states(query)]
    assert len(found) >= 7
    assert [place for place, before, after in found if not goes_by_state(before, after)] == []


@pytest.mark.parametrize(
    "rest",
    [
        "summarize arg_max(TimeGenerated, Name) by incident",
        "summarize arg_max(TimeGenerated, outcome) by incident",
        "where isnotempty(outcome) | summarize arg_max(TimeGenerated, Name) by incident",
        'where isnotempty(outcome) | summarize arg_max(TimeGenerated, outcome, Name) | where Name == "x"',
    ],
)
def test_a_query_that_takes_the_name_of_the_last_event_for_the_state_is_found(rest: str) -> None:
    (statement,) = last_states(Query("planted", f'AppEvents | where Name startswith "link." | {rest}'))
    assert not goes_by_state(*statement)


def test_what_became_of_an_incident_after_its_link_is_told_where_somebody_looks() -> None:
    asked = {query.place: asked_for(query) for query in QUERIES}
    assert {place for place, names in asked.items() if names == {"link.merged"}} == {
        "infra/queries/merged.kql",
        "workbook: /merged",
    }
    assert asked["workbook: /revived"] == {"link.revived"}
    (life,) = (query for query in QUERIES if query.place == "infra/queries/incident-life.kql")
    assert {"was", "may_have_linked"} <= life.dimensions
    assert {"link.merged", "link.revived"} <= asked[life.place]


FILES = sorted((ROOT / "infra" / "queries").glob("*.kql"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_query_file_begins_with_its_title_and_what_it_answers(path: Path) -> None:
    first, second, *_ = path.read_text().splitlines()
    assert first.startswith("// ")
    assert second.startswith("// ")
    assert len(first) < 60
