"""What is kept of the compiler is what it makes of the templates: `infra/compiled`, `snapshots`.

Skipped where the compiler is missing or another one, and failed there with `REQUIRE_BICEP=1`.
"""

import os
from pathlib import Path

import compiler
import pytest

pytestmark = pytest.mark.deep
AGAIN = "a template was changed: make compiled"


@pytest.fixture(scope="module", autouse=True)
def pinned_compiler() -> None:
    compiler_or_skip()


def compiler_or_skip() -> None:
    try:
        compiler.bicep()
    except compiler.CompilerError as error:
        if os.environ.get("REQUIRE_BICEP"):
            pytest.fail(f"{error}, and REQUIRE_BICEP is set")
        pytest.skip(f"{error}: nothing is built")


def kept(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in folder.glob("*.json")}


def test_every_template_builds_without_a_word_and_the_json_that_is_kept_is_the_newest() -> None:
    assert kept(compiler.INFRA / "compiled") == compiler.build(), AGAIN


@pytest.mark.parametrize(("name", "template"), compiler.names())
def test_the_snapshot_that_is_kept_is_the_newest(name: str, template: str) -> None:
    assert kept(compiler.SNAPSHOTS)[f"{name}.{template}"] == compiler.snapshot(name, template), AGAIN
