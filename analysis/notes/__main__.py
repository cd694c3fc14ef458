"""`python -m analysis.notes [NOTE ...]`: execute the notes again and store their outputs."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

NOTES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.ipynb"))}


def execute(path: Path, *, timeout: float = 900.0) -> Any:
    """The notebook at `path`, executed in its own kernel; raises at the first cell that fails.

    Needs the extra `notes` (nbclient, ipykernel). Pictures are PNG, in the notebook.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    root = str(Path(__file__).parents[2])
    environment = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
    }
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
    )
    return client.execute(env={**os.environ, **environment})


def stored(notebook: Any) -> Any:
    """The executed notebook, without what changes from run to run and says nothing."""
    notebook["metadata"].pop("widgets", None)
    notebook["metadata"]["language_info"] = {"name": "python"}
    for cell in notebook["cells"]:
        cell["metadata"] = {}
        outputs: list[Any] = []
        for output in cell.get("outputs", []):
            last = outputs[-1] if outputs else {"output_type": None}
            if output["output_type"] == last["output_type"] == "stream":
                last["text"] += output["text"]  # printed in pieces
            else:
                outputs.append(output)
        if cell["cell_type"] == "code":
            cell["outputs"] = outputs
    return notebook


def main(arguments: list[str] | None = None) -> None:
    import nbformat

    parser = argparse.ArgumentParser(prog="python -m analysis.notes", description=__doc__)
    parser.add_argument("notes", nargs="*", metavar="NOTE", help=", ".join(NOTES))
    for name in parser.parse_args(arguments).notes or NOTES:
        if name not in NOTES:
            parser.error(f"NOTE must be one of {', '.join(NOTES)}, got {name}")
        start = time.perf_counter()
        nbformat.write(stored(execute(NOTES[name])), NOTES[name])
        print(f"{name}: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
