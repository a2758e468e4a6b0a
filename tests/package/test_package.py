"""What `make package` makes is what Azure runs: complete, alone, and nothing besides."""

import asyncio
import json
import marshal
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import multidict
import openapi
import pytest
from conftest import ROOT

from sandbox import Sandbox
from sandbox.planted import PLANTED_SECRET

UV = ROOT / ".tools" / "bin" / "uv"
WWWROOT = "/home/site/wwwroot"
_PYC_HEADER = 16
_UNCHECKED_HASH = 0b01


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip, unpacked in an empty folder."""
    made = tmp_path_factory.mktemp("dist")
    subprocess.run(["make", "--silent", "package", f"DIST={made}"], cwd=ROOT, check=True, timeout=300)
    unpacked = tmp_path_factory.mktemp("wwwroot")
    with ZipFile(made / "contraforce-sentinel.zip") as archive:
        archive.extractall(unpacked)
    return unpacked


@pytest.fixture(scope="module")
def clean_python(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the locked packages of requirements.txt, and no others."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run(
        [UV, "sync", "--quiet", "--frozen", "--no-dev", "--group", "worker", "--no-install-project",
         "--python", sys.executable],
        cwd=ROOT, check=True, timeout=300,
        env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(environment), "UV_SYSTEM_CERTS": "1"},
    )  # fmt: skip
    python = environment / "bin" / "python"
    frozen = subprocess.run(
        [UV, "pip", "freeze", "--python", python], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(frozen.stdout.split()) == set(requirements(package))
    return python


def requirements(package: Path) -> list[str]:
    """Return the pins that are for this platform."""
    lines = (package / "requirements.txt").read_text().splitlines()
    pins = [line.rstrip(" \\") for line in lines if re.match(r"[a-z]", line)]
    return [
        pin.split(" ; ")[0]
        for pin in pins
        if " ; " not in pin
        or not re.search(r"(sys_platform|os_name|platform_system) == '(win|nt|Win|emsc)", pin)
    ]


def test_the_package_holds_what_is_deployed_and_nothing_else(package: Path) -> None:
    deployed = ROOT / "src" / "contraforce_sentinel"
    expected = {"function_app.py", "host.json", "requirements.txt"} | {
        f"src/contraforce_sentinel/{path.relative_to(deployed)}"
        for path in deployed.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    files = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    compiled = {name for name in files if name.endswith(".pyc")}
    assert files - compiled == expected
    assert len(compiled) == sum(name.endswith(".py") for name in expected)
    content = b"".join((package / name).read_bytes() for name in files)
    assert str(ROOT).encode() not in content
    assert PLANTED_SECRET.encode() not in content


def test_every_module_is_compiled_and_started_without_a_look_at_its_source(package: Path) -> None:
    for source in package.rglob("*.py"):
        [compiled] = source.parent.glob(f"__pycache__/{source.stem}.cpython-313.pyc")
        content = compiled.read_bytes()
        assert int.from_bytes(content[4:8], "little") == _UNCHECKED_HASH
        code = marshal.loads(content[_PYC_HEADER:])  # noqa: S302 - made by this build
        assert code.co_filename == f"{WWWROOT}/{source.relative_to(package)}"


def test_the_requirements_are_pinned_with_hashes(package: Path) -> None:
    text = (package / "requirements.txt").read_text()
    pins = requirements(package)
    assert all(re.fullmatch(r"[a-z0-9-]+(\[[a-z,-]+\])?==[\w.]+", pin) for pin in pins)
    assert text.count("--hash=sha256:") >= len(pins)
    names = {pin.split("==")[0] for pin in pins}
    assert {"azure-functions", "azure-functions-runtime", "azure-identity", "httpx", "pydantic"} <= names
    assert not {"typer", "rich", "pytest", "trustme", "croniter"} & names


@pytest.fixture
def host_alone(tmp_path: Path) -> Path:
    """The local host's worker and the one package it needs, without the rest of the checkout."""
    alone = tmp_path / "host"
    shutil.copytree(ROOT / "src" / "functions_host", alone / "functions_host")
    shutil.copytree(Path(multidict.__file__).parent, alone / "multidict")
    return alone


async def test_the_package_alone_is_indexed_and_links_an_incident(
    package: Path, clean_python: Path, host_alone: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    incident = sandbox.add_workspace().add_incident()
    environment = {
        **sandbox.environment(),
        "LINK_STORE": f"sqlite:///{tmp_path}/links.db",
        "PYTHONPATH": str(host_alone),
        "PATH": os.environ["PATH"],
    }
    script = ROOT / "tests" / "package" / "deliver_once.py"
    process = await run(
        clean_python,
        script,
        package,
        body=json.dumps(incident.trimmed_body()).encode(),
        environment=environment,
    )
    assert process.returncode == 0, process.stderr
    said = json.loads(process.stdout)
    assert said["functions"] == ["get_link", "health", "link_incident", "reconcile"]
    openapi.check("link_incident", said["status"], said["headers"], said["body"])
    assert (said["status"], json.loads(said["body"])["status"]) == (200, "linked"), said["body"]
    assert len(incident.comments) == 1
    homes = (package.resolve(), clean_python.parents[1].resolve(), host_alone.resolve(), script)
    library = Path(sysconfig.get_paths()["stdlib"]).resolve()
    foreign = {
        name: file
        for name, file in said["files"].items()
        if not any(Path(file).is_relative_to(home) for home in (*homes, library))
    }
    assert not foreign
    assert Path(said["files"]["contraforce_sentinel.use_cases.linking"]).is_relative_to(package.resolve())


async def run(
    python: Path, script: Path, folder: Path, *, body: bytes, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run without blocking the loop, because the sandbox answers on it."""
    process = await asyncio.create_subprocess_exec(
        python, script, folder, env=environment, cwd=folder,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(body)
    return subprocess.CompletedProcess([], process.returncode or 0, out.decode(), err.decode())
