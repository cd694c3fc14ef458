"""The README's own code runs, and the names it uses exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import arvdm_theory
from arvdm_theory.specification import read

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_blocks_run(capsys) -> None:
    found = blocks("python")
    assert found
    for block in found:
        exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("Decomposition(fifo, K=50, nats:")


def test_json_block_is_a_specification() -> None:
    [block] = blocks("json")
    assert read(block).steps == json.loads(block)["steps"]


def test_functions_of_the_tables_exist() -> None:
    named = set(re.findall(r"\| [^|]*\| `(\w+)", README)) | set(re.findall(r"\| `(\w+)`", README))
    assert {"decompose", "Panorama", "window_memory_bottleneck"} <= named
    missing = [name for name in named if not hasattr(arvdm_theory, name)]
    assert missing in ([], ["arvdm_theory"])


def test_every_public_name_is_listed_and_importable() -> None:
    for name in arvdm_theory.__all__:
        assert hasattr(arvdm_theory, name)


def test_every_linked_file_exists() -> None:
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\(((?!https?:|#)[^)]+)\)", README):
        assert (root / target).exists(), target
