"""What the templates deploy, read from what the compiler made of them: no compiler is needed.

`snapshot` is a deployment with its parameters filled in (`tests/infra/snapshots`); what only Azure knows is
still an expression, and `plain` writes those with names instead of ids. `compiled` is a template as JSON.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID, uuid5

INFRA: Final = Path(__file__).parent.parent / "infra"
COMPILED: Final = INFRA / "compiled"
SNAPSHOTS: Final = Path(__file__).parent / "infra" / "snapshots"
_GUIDS: Final = UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")
"""The namespace of Resource Manager's `guid`."""
_ID: Final = r"/subscriptions/[0-9a-f-]{36}(?:/resourceGroups/[\w-]+)?(?:/providers/[\w./-]+)?"
_folders = [(COMPILED, SNAPSHOTS)]


@contextmanager
def instead(compiled_folder: Path, snapshots: Path) -> Iterator[None]:
    """Read from other folders: those of a template with a planted fault."""
    _folders.append((compiled_folder, snapshots))
    try:
        yield
    finally:
        _folders.pop()


@dataclass(frozen=True)
class Resource:
    """A resource that would be deployed; `scope` is the id of what it is an extension of, or of its group."""

    id: str
    type: str
    name: str
    body: dict[str, Any]

    @property
    def properties(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.body["properties"])

    @property
    def scope(self) -> str:
        within = re.match(r"\[(?:extensionResourceId|resourceId)\('([^']+)'", self.id)
        return within[1] if within else self.id.rpartition("/providers/")[0]


@dataclass(frozen=True)
class Deployment:
    resources: tuple[Resource, ...]
    outputs: dict[str, Any]

    def of_type(self, kind: str) -> list[Resource]:
        return [found for found in self.resources if found.type == kind]

    def one(self, kind: str, ending: str = "") -> Resource:
        """Return the one resource of a type whose name ends so, or begins so."""
        found = [
            item for item in self.of_type(kind) if item.name.endswith(ending) or item.name.startswith(ending)
        ]
        assert len(found) == 1, f"{len(found)} resources {kind} {ending}"
        return found[0]

    def settings(self) -> dict[str, str]:
        """Return the app's settings."""
        listed = self.one("Microsoft.Web/sites").properties["siteConfig"]["appSettings"]
        settings = {item["name"]: item["value"] for item in listed}
        assert len(settings) == len(listed), "an app setting is there twice"
        return settings


def snapshot(name: str, template: str = "main") -> Deployment:
    """Read a snapshot that is kept."""
    return _snapshot(_folders[-1][1] / f"{name}.{template}.json")


def snapshots(template: str = "main") -> dict[str, Deployment]:
    """Read every snapshot of a template, by the name of its set."""
    names = [path.name.split(".")[0] for path in sorted(_folders[-1][1].glob(f"*.{template}.json"))]
    return {name: snapshot(name, template) for name in names}


@cache
def _snapshot(path: Path) -> Deployment:
    read = json.loads(path.read_text())
    resources = tuple(
        Resource(item["id"], item["type"], item["name"], item) for item in read["predictedResources"]
    )
    return Deployment(resources, read["outputs"])


def compiled(name: str = "main") -> dict[str, Any]:
    """Read a template as JSON."""
    return _compiled(_folders[-1][0] / f"{name}.json")


@cache
def _compiled(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def compiled_names() -> list[str]:
    return sorted(path.stem for path in COMPILED.glob("*.json"))


def resources(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the resources of a template that it makes, by their symbolic name or their place."""
    listed = template["resources"]
    items = listed.items() if isinstance(listed, dict) else enumerate(listed)
    return {str(key): item for key, item in items if not item.get("existing")}


def modules(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the deployments of a template, by their names: their parameters, and the template of each."""
    return {
        item["name"]: item["properties"]
        for item in resources(template).values()
        if item["type"] == "Microsoft.Resources/deployments"
    }


def every_template(template: dict[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a template and those inside it, each with its place."""
    yield place, template
    for name, module in modules(template).items():
        yield from every_template(module["template"], f"{place}/{name}")


def role_ids() -> dict[str, str]:
    found: dict[str, str] = json.loads((INFRA / "roles.json").read_text())
    return found


def guid(*parts: str) -> str:
    """As Resource Manager makes one of texts."""
    return str(uuid5(_GUIDS, "-".join(parts)))


def plain(text: str) -> str:
    """Write a resource's name in the place of its id, and no API version."""
    text = re.sub(_ID, lambda found: found[0].rpartition("/")[2], text)
    return re.sub(r", '\d{4}-\d\d-\d\d(?:-preview)?'", "", text)


def strings(value: Any) -> Iterator[str]:
    """Every text in a value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
