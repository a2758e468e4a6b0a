"""The Bicep compiler: makes `infra/compiled` and `snapshots`; `make compiled` runs this file.

Only the version of `.ci/bicep-version` makes files that are kept: another one may
write the same in other words.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from parameter_sets import GROUP, OF_SUBSCRIPTIONS, SETS, SUBSCRIPTION, TENANT, TENANTS

ROOT: Final = Path(__file__).parents[2]
INFRA: Final = ROOT / "infra"
SNAPSHOTS: Final = Path(__file__).parent / "snapshots"
PINNED: Final = (ROOT / ".ci" / "bicep-version").read_text().strip()
TEMPLATES: Final[Mapping[str, str]] = {
    "main": "main.bicep",
    "customer": "customer.bicep",
    "function-key": "function-key.bicep",
    "lighthouse": "lighthouse.bicep",
}
"""What is deployed by itself: the name of its JSON, and its template."""
_SECONDS: Final = 100


class CompilerError(Exception):
    """The compiler is not here, is another one, or has said something."""


@cache
def bicep() -> str:
    """Return the compiler, from the PATH or from az; raise where it is missing or not the pinned one."""
    of_az = Path(os.environ.get("AZURE_CONFIG_DIR", Path.home() / ".azure")) / "bin" / "bicep"
    found = shutil.which("bicep") or (str(of_az) if of_az.exists() else None)
    if found is None:
        raise CompilerError("the Bicep compiler is not here")
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True, timeout=_SECONDS)
    version = re.search(r"\d+\.\d+\.\d+", told.stdout)
    if version is None or version[0] != PINNED:
        raise CompilerError(f"the Bicep compiler is not {PINNED}, but {told.stdout.strip()}")
    return found


def run(*arguments: str | Path, strict: bool = True) -> None:
    """Run the compiler; whatever it says is an error, if not `strict` then only what it cannot do."""
    done = subprocess.run(
        [bicep(), *arguments], capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    if done.returncode or (strict and (done.stdout or done.stderr)):
        raise CompilerError(done.stdout + done.stderr)


def build() -> dict[str, str]:
    """Build every template; return the JSON of each that is deployed by itself."""
    with TemporaryDirectory() as made:
        run("build", "--pattern", INFRA / "*.bicep", "--outdir", made)
        return {name: _read((Path(made) / file).with_suffix(".json")) for name, file in TEMPLATES.items()}


def build_one(name: str, infra: Path, *, strict: bool) -> str:
    with TemporaryDirectory() as made:
        run("build", infra / TEMPLATES[name], "--outfile", f"{made}/made.json", strict=strict)
        return _read(Path(made) / "made.json")


def snapshot(name: str, template: str, infra: Path = INFRA, *, strict: bool = True) -> str:
    """Return what a set would deploy of a template, in an order of its own, texts of files by their names."""
    with TemporaryDirectory() as made:
        parameters = Path(made).resolve() / "set.bicepparam"
        template_file = os.path.relpath((infra / TEMPLATES[template]).resolve(), parameters.parent)
        lines = [f"param {key} = {_literal(value)}\n" for key, value in SETS[name][template].items()]
        parameters.write_text("".join([f"using '{template_file}'\n", *lines]))
        group = [] if template in OF_SUBSCRIPTIONS else ["--resource-group", GROUP]
        where = ("--tenant-id", TENANTS.get(name, TENANT), "--subscription-id", SUBSCRIPTION, *group)
        run("snapshot", parameters, "--mode", "overwrite", *where, "--location", "westeurope",
            "--deployment-name", "ticketlink", strict=strict)  # fmt: skip
        found = json.loads((Path(made) / "set.snapshot.json").read_text())
    if found["diagnostics"]:
        raise CompilerError(str(found["diagnostics"]))
    resources = sorted(found["predictedResources"], key=lambda item: (item["type"], item["id"]))
    said = {path.read_text(): f"<{path.relative_to(infra)}>" for path in _texts(infra)}
    kept = {"outputs": found["outputs"], "predictedResources": [_named(item, said) for item in resources]}
    return text(kept, sort_keys=True)


def names() -> list[tuple[str, str]]:
    """Return every snapshot: its set, and its template."""
    return [(name, template) for name, templates in SETS.items() for template in templates]


def record() -> None:
    """Write what a change of a template changes."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        snapshots = dict(zip(names(), pool.map(lambda of: snapshot(*of), names()), strict=True))
    for folder, files in (
        (INFRA / "compiled", {f"{name}.json": made for name, made in build().items()}),
        (SNAPSHOTS, {f"{'.'.join(of)}.json": made for of, made in snapshots.items()}),
    ):
        folder.mkdir(exist_ok=True)
        for path in folder.glob("*.json"):
            if path.name not in files:
                path.unlink()
        for name, made in files.items():
            (folder / name).write_text(made)


def _read(path: Path) -> str:
    return text(_without_generator(json.loads(path.read_text())))


def _texts(infra: Path) -> Iterator[Path]:
    yield infra / "workbook.json"
    yield from infra.glob("*/*.kql")


def _named(value: Any, said: Mapping[str, str]) -> Any:
    """Replace the text of a file by the file's name: a change of it shows there."""
    if isinstance(value, dict):
        return {key: _named(item, said) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item, said) for item in value]
    return said.get(value, value) if isinstance(value, str) else value


def _without_generator(value: Any) -> Any:
    """Leave out the compiler's version and the hash, which say nothing of the template."""
    if isinstance(value, dict):
        kept = {key: _without_generator(item) for key, item in value.items() if key != "_generator"}
        return {key: item for key, item in kept.items() if key != "metadata" or item}
    return [_without_generator(item) for item in value] if isinstance(value, list) else value


def _literal(value: Any) -> str:
    """Write a value as Bicep does; every key is an identifier."""
    if isinstance(value, dict):
        return "".join(["{\n", *(f"{key}: {_literal(item)}\n" for key, item in value.items()), "}"])
    if isinstance(value, list):
        return "".join(["[\n", *(f"{_literal(item)}\n" for item in value), "]"])
    return "'{}'".format(value.replace("'", "\\'")) if isinstance(value, str) else json.dumps(value)


text = partial(json.dumps, indent=2, ensure_ascii=False)

if __name__ == "__main__":
    record()
