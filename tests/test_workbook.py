"""The workbook: the parts of its JSON that are used here, each as the portal expects it; its content."""

import json
import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from queries import LOGS, PARAMETERS, WORKBOOK, workbook_queries

LOG_ANALYTICS = "microsoft.operationalinsights/workspaces"


class _Part(BaseModel):
    """A part of the format https://learn.microsoft.com/azure/azure-monitor/visualize/workbooks-overview."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Duration(_Part):
    durationMs: Annotated[int, Field(gt=0)]  # noqa: N815 - the format's name


class _Visibility(_Part):
    parameterName: str  # noqa: N815
    comparison: Literal["isNotEqualTo"]


class _Text(_Part):
    json_: Annotated[str, Field(alias="json", min_length=1)]


class _Query(_Part):
    version: Literal["KqlItem/1.0"]
    query: Annotated[str, Field(min_length=1)]
    size: Literal[0, 1, 2, 3, 4]
    title: Annotated[str, Field(min_length=1)]
    noDataMessage: str  # noqa: N815
    timeContextFromParameter: Literal["TimeRange"]  # noqa: N815
    queryType: Literal[0]  # noqa: N815
    resourceType: Literal["microsoft.operationalinsights/workspaces"]  # noqa: N815
    crossComponentResources: list[Literal["{SentinelWorkspaces}"]] | None = None  # noqa: N815
    visualization: Literal["table", "tiles", "barchart", "linechart"]
    tileSettings: dict[str, Any] | None = None  # noqa: N815


class _Parameter(_Part):
    id: Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]
    version: Literal["KqlParameterItem/1.0"]
    name: Annotated[str, Field(pattern=r"^\w+$")]
    label: str
    type: Literal[2, 4, 5]  # a list of values, a time range, resources
    isRequired: bool  # noqa: N815
    multiSelect: bool = False  # noqa: N815
    quote: Literal["'"] | None = None
    delimiter: Literal[","] | None = None
    query: str | None = None
    crossComponentResources: list[str] | None = None  # noqa: N815
    typeSettings: dict[str, Any]  # noqa: N815
    timeContextFromParameter: Literal["TimeRange"] | None = None  # noqa: N815
    defaultValue: Literal["value::all"] | None = None  # noqa: N815
    value: _Duration | None = None
    queryType: Literal[0, 1] | None = None  # noqa: N815
    resourceType: str | None = None  # noqa: N815


class _Parameters(_Part):
    version: Literal["KqlParameterItem/1.0"]
    style: Literal["pills"]
    queryType: Literal[0]  # noqa: N815
    resourceType: Literal["microsoft.operationalinsights/workspaces"]  # noqa: N815
    parameters: list[_Parameter]


class _Item(_Part):
    name: Annotated[str, Field(min_length=1)]
    customWidth: Literal["50"] | None = None  # noqa: N815
    conditionalVisibility: _Visibility | None = None  # noqa: N815


class _TextItem(_Item):
    type: Literal[1]
    content: _Text


class _QueryItem(_Item):
    type: Literal[3]
    content: _Query


class _ParametersItem(_Item):
    type: Literal[9]
    content: _Parameters


class _Workbook(_Part):
    version: Literal["Notebook/1.0"]
    items: list[Annotated[_TextItem | _QueryItem | _ParametersItem, Field(discriminator="type")]]
    fallbackResourceIds: list[str]  # noqa: N815
    schema_: Annotated[str, Field(alias="$schema")]


@pytest.fixture(scope="module")
def workbook() -> _Workbook:
    return _Workbook.model_validate_json(WORKBOOK.read_bytes())


def test_the_workbook_has_the_form_that_the_portal_reads(workbook: _Workbook) -> None:
    names = [item.name for item in workbook.items]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Notebook/1.0", "Notebook/2.0"),
        ('"visualization": "tiles"', '"visualization": "tile"'),
        ('"timeContextFromParameter": "TimeRange"', '"timeContextFromParameter": "Time"'),
        ('"noDataMessage"', '"noDataMesage"'),
    ],
)
def test_a_part_of_another_form_is_refused(old: str, new: str) -> None:
    text = WORKBOOK.read_text()
    assert old in text
    with pytest.raises(ValidationError):
        _Workbook.model_validate_json(text.replace(old, new))


def test_time_and_workspace_are_parameters_and_every_parameter_that_is_used_exists(
    workbook: _Workbook,
) -> None:
    given = {
        parameter.name
        for item in workbook.items
        if isinstance(item, _ParametersItem)
        for parameter in item.content.parameters
    }
    assert {"TimeRange", "Workspace"} <= given
    text = WORKBOOK.read_text()
    used = set(re.findall(r"\{(\w+)(?::\w+)?\}", text))
    shown = {
        item.conditionalVisibility.parameterName for item in workbook.items if item.conditionalVisibility
    }
    assert used | shown <= given
    in_queries = "".join(query for _, query in workbook_queries(json.loads(text)))
    assert set(re.findall(r"\{[\w:]+\}", in_queries)) == PARAMETERS.keys()


def test_every_query_of_one_customers_rows_heeds_the_chosen_workspace(workbook: _Workbook) -> None:
    """The timer's runs, the metrics and refused requests are of no customer."""
    of_all = {"oldest due", "upstreams", "upstream answers", "refused", "unlinked"}
    heeding = {item.name for item in workbook.items if "{Workspace}" in str(item.content)}
    queries = {item.name for item in workbook.items if isinstance(item, _QueryItem)}
    assert heeding == queries - of_all


def test_the_page_shows_what_an_admin_opens_it_for(workbook: _Workbook) -> None:
    """Health, outcomes, what needs a person, what became of links, customers, upstreams: in this order."""
    names = [item.name for item in workbook.items]
    wanted = ["health", "outcomes", "oldest due", "dead", "how to replay", "merged", "revived", "customers"]
    wanted.append("upstreams")
    assert [name for name in names if name in wanted] == wanted


def test_the_queries_of_the_page_are_found_for_the_other_tests(workbook: _Workbook) -> None:
    queries = [item for item in workbook.items if isinstance(item, _QueryItem)]
    parameters = [item for item in workbook.items if isinstance(item, _ParametersItem)]
    listed = [one for item in parameters for one in item.content.parameters if one.query]
    of_logs = [one for one in listed if one.queryType == LOGS]
    found = list(workbook_queries(json.loads(WORKBOOK.read_text())))
    assert len(found) == len(queries) + len(of_logs)
