"""What is shipped: the wheel's contents, what an import costs, one version, no machine paths."""

from __future__ import annotations

import email
import importlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import arvdm_theory

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "arvdm_theory"

#: Import names of everything that only an extra installs.
OPTIONAL = {
    "av",
    "cvxpy",
    "dask",
    "distributed",
    "flint",
    "hypothesis",
    "jinja2",
    "joblib",
    "matplotlib",
    "mpmath",
    "pandas",
    "rich",
    "seaborn",
    "skimage",
    "sympy",
    "torch",
    "tqdm",
}
#: Modules that are about an optional package, and may import it.
ABOUT_AN_EXTRA = {"symbolic", "certified", "testing"}


def run_python(code: str, *arguments: str) -> str:
    """Standard output of `code` in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    out = tmp_path_factory.mktemp("wheel")
    command = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def dist_info(wheel: zipfile.ZipFile) -> str:
    return f"arvdm_theory-{arvdm_theory.__version__}.dist-info"


# The wheel


def test_the_wheel_holds_only_the_library(wheel: zipfile.ZipFile, dist_info: str) -> None:
    assert {name.split("/")[0] for name in wheel.namelist()} == {"arvdm_theory", dist_info}


def test_the_wheel_holds_every_file_of_the_library(wheel: zipfile.ZipFile) -> None:
    here = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != ".DS_Store"
    }
    assert "arvdm_theory/py.typed" in here
    assert here == {name for name in wheel.namelist() if name.startswith("arvdm_theory/")}


def test_the_wheel_carries_its_licence_and_command(wheel: zipfile.ZipFile, dist_info: str) -> None:
    names = wheel.namelist()
    assert f"{dist_info}/licenses/LICENSE" in names
    assert f"{dist_info}/licenses/NOTICE.md" in names
    entry_points = wheel.read(f"{dist_info}/entry_points.txt").decode()
    assert "arvdm = arvdm_theory.cli:main" in entry_points


def test_the_core_needs_three_packages(wheel: zipfile.ZipFile, dist_info: str) -> None:
    metadata = email.message_from_bytes(wheel.read(f"{dist_info}/METADATA"))
    core = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {re.split(r"[^A-Za-z0-9-]", line)[0] for line in core}
    assert names == {"array-api-compat", "numpy", "scipy"}


# Imports


def test_importing_the_library_imports_no_optional_package() -> None:
    code = "import json, sys, arvdm_theory; print(json.dumps(list(sys.modules)))"
    imported = {name.split(".")[0] for name in json.loads(run_python(code))}
    assert "arvdm_theory" in imported
    assert imported & OPTIONAL == set()


def test_every_core_module_imports_without_the_extras() -> None:
    names = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path.stem not in ABOUT_AN_EXTRA | {"__main__"}
    )
    code = """
import importlib, sys
blocked, names = (argument.split(",") for argument in sys.argv[1:])

class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is optional", name=name)

sys.meta_path.insert(0, Absent)
for name in names:
    importlib.import_module(name.removesuffix(".__init__"))
"""
    run_python(code, ",".join(sorted(OPTIONAL)), ",".join(names))


# An empty environment


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, and the wheel that is built from it alone."""
    out = tmp_path_factory.mktemp("built")
    command = ["-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_source_distribution_holds_what_it_should(built: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    folders = {name.split("/")[0] for name in names if "/" in name}
    files = {name for name in names if "/" not in name}
    assert folders == {"arvdm_theory"}
    assert {"README.md", "LICENSE", "NOTICE.md", "CITATION.cff", "pyproject.toml"} <= files


MINIMAL = """
import sys
from arvdm_theory import Autoregressive, Generator, Scaled, Schedule, decompose
from arvdm_theory.cli import main

video = Autoregressive([0.5, 0.4], noise_variance=0.3)
schedule = Schedule.fifo(4, t_max=3.0, t_min=0.05, substeps=4)
result = decompose(video, schedule, Generator(Scaled(1.03), reference=1), steps=5)
print(repr(result.chain), repr(result.output), result.citation().count("@") > 0)
assert main(["cite", "R2"]) == 0
print(sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def test_the_wheel_alone_computes_a_decomposition(built: Path, tmp_path: Path) -> None:
    """A new environment with the wheel and the three core packages, which are not fetched."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    [site] = environment.rglob("site-packages")
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in ("numpy", "scipy", "array_api_compat"):
        package = Path(importlib.import_module(name).__file__ or "").parent
        for source in [package, *package.parent.glob(f"{name}.libs")]:
            (site / source.name).symlink_to(source)
    done = subprocess.run(
        [scripts / "python", "-I", "-c", MINIMAL], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    chain, output, cited = done.stdout.splitlines()[0].split()
    video = arvdm_theory.Autoregressive([0.5, 0.4], noise_variance=0.3)
    schedule = arvdm_theory.Schedule.fifo(4, t_max=3.0, t_min=0.05, substeps=4)
    model = arvdm_theory.Generator(arvdm_theory.Scaled(1.03), reference=1)
    result = arvdm_theory.decompose(video, schedule, model, steps=5)
    assert (float(chain), float(output), cited) == (result.chain, result.output, "True")
    assert "chechik2005information" in done.stdout
    imported = set(re.findall(r"'(\w+)'", done.stderr))
    assert "numpy" in imported and imported & OPTIONAL == set()


@pytest.mark.heavy
def test_pip_installs_it_in_an_empty_environment(built: Path, tmp_path: Path) -> None:
    """The same as a user does it: pip fetches the core packages."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    [wheel] = built.glob("*.whl")
    install = ["-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(wheel)]
    done = subprocess.run([scripts / "python", *install], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        [scripts / "python", "-m", "pip", "list", "--format", "freeze"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = {line.split("==")[0].replace("_", "-") for line in listed.split()}
    assert names - {"pip", "setuptools"} == {"arvdm-theory", "array-api-compat", "numpy", "scipy"}
    done = subprocess.run(
        [scripts / "arvdm", "cite", "R2"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and "chechik2005information" in done.stdout
    subprocess.run([scripts / "python", "-I", "-c", MINIMAL], cwd=tmp_path, check=True)


def test_every_extra_is_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "extras.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(
        project["optional-dependencies"]
    )


# One version


def test_one_version_everywhere(wheel: zipfile.ZipFile, dist_info: str) -> None:
    version = arvdm_theory.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "arvdm_theory/__init__.py"

    metadata = email.message_from_bytes(wheel.read(f"{dist_info}/METADATA"))
    assert metadata["Version"] == version

    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (\S+)$", citation, re.MULTILINE) == [version]

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d\S*)\]", changelog, re.MULTILINE)
    assert released[0] == version


def test_the_constraints_pin_exact_public_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[\w.-]+==[\d.]+(post\d+)?", line)] == []
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in pins]
    assert len(names) == len(set(names))


# No machine paths


#: An absolute path into a home, work or scratch folder; not part of a longer path or a URL.
MACHINE_PATH = re.compile(
    r"(?<![\w.~/}>-])(?:/(?:home|root|Users|work|opt|mnt|tmp)/[\w.-]|[A-Z]:\\Users\\)"
)


def files_of_the_project() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout, so there is no list of tracked files")
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]


def test_no_file_names_a_machine_path() -> None:
    found = []
    for path in files_of_the_project():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # not a text file
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if MACHINE_PATH.search(line)
        ]
    assert found == []


@pytest.mark.parametrize("folder", ["home", "root", "Users", "work", "opt", "mnt", "tmp"])
def test_a_machine_path_would_be_found(folder: str) -> None:
    path = "/".join(["", folder, "someone", "clip.mp4"])
    assert MACHINE_PATH.search(f'open("{path}")')
    assert MACHINE_PATH.search(f"see {path}")
    assert not MACHINE_PATH.search("https://example.org" + path)
    assert not MACHINE_PATH.search("out" + path)
