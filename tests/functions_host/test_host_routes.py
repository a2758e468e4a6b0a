"""Route templates."""

import pytest

from functions_host.errors import RouteError
from functions_host.routes import RouteTable
from functions_host.worker import FunctionMetadata


def table(*routes: str, prefix: str = "api") -> RouteTable:
    return RouteTable(
        [
            FunctionMetadata(
                name=route,
                function_id=route,
                bindings=[],
                trigger_name="req",
                trigger_type="httpTrigger",
                route=route,
            )
            for route in routes
        ],
        prefix=prefix,
    )


@pytest.mark.parametrize(
    ("path", "route", "params"),
    [
        ("/api/a/b", "a/b", {}),
        ("/api/A/B/", "a/b", {}),
        ("/api/a/7", "a/{number:int}", {"number": "7"}),
        ("/api/a/x", "a/{id}", {"id": "x"}),
        ("/api/a/x/y", "{*rest}", {"rest": "a/x/y"}),
        ("/api/page.json", "{name}.json", {"name": "page"}),
        ("/api/page", "{any}", {"any": "page"}),
        ("/api", "{*rest}", {}),
    ],
)
def test_the_most_specific_template_wins(path: str, route: str, params: dict[str, str]) -> None:
    found = table("{*rest}", "{any}", "{name}.json", "a/{id}", "a/{number:int}", "a/b").find("GET", path)

    assert found is not None
    assert (found.function.name, found.params) == (route, params)


@pytest.mark.parametrize(
    ("route", "fits", "does_not_fit"),
    [
        ("{x:int}", "-7", "seven"),
        ("{x:bool}", "True", "yes"),
        ("{x:alpha}", "abc", "abc1"),
        ("{x:guid}", "0f8fad5b-d9cb-469f-a165-70867728950e", "0f8fad5b"),
        ("{x:int:min(1)}", "5", "five"),
        ("{x:minlength(3)}", "a", "a/b"),  # tolerated, not checked
    ],
)
def test_constraints(route: str, fits: str, does_not_fit: str) -> None:
    routes = table(route)

    assert routes.find("GET", f"/api/{fits}") is not None
    assert routes.find("GET", f"/api/{does_not_fit}") is None


@pytest.mark.parametrize("route", ["{id=5}", "{id", "a}", "{x:regex(^a{2}$)}"])
def test_templates_that_are_not_understood_are_refused(route: str) -> None:
    with pytest.raises(RouteError, match="is not understood"):
        table(route)
