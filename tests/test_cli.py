"""The command line: its contract, its exit codes, and what it refuses."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arvdm_theory import Autoregressive, Panorama, specification, testing, window_memory_bottleneck
from arvdm_theory.cli import COMMANDS, _aligned, _parsed, main
from arvdm_theory.literature import citation
from arvdm_theory.memory import memory_budget, recursive_memory_floor
from arvdm_theory.schedule import METHODS
from arvdm_theory.video import FAMILIES
from tests import oracle

SPEC: dict[str, Any] = {
    "video": {
        "family": "autoregressive",
        "coefficients": [0.5, 0.4],
        "noise_variance": 0.3,
        "dim": 1,
    },
    "schedule": {
        "method": "outpainting",
        "window": 6,
        "stride": 2,
        "t_max": 3.0,
        "t_min": 0.05,
        "substeps": 12,
    },
    "generator": {"denoiser": {"kind": "exact"}, "sampler": "ancestral", "reference": 0},
    "steps": 5,
}


def run(spec: Any, capsys: pytest.CaptureFixture, tmp_path: Path, *flags: str):
    path = tmp_path / "spec.json"
    path.write_text(spec if isinstance(spec, str) else json.dumps(spec))
    code = main(["decompose", str(path), *flags])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def changed(section: str | None, **keys: Any) -> dict[str, Any]:
    spec = json.loads(json.dumps(SPEC))
    target = spec if section is None else spec[section]
    for key, value in keys.items():
        if value is ...:
            target.pop(key, None)
        else:
            target[key] = value
    return spec


def test_json_holds_the_promised_keys_and_the_oracles_numbers(capsys, tmp_path) -> None:
    code, out, err = run(SPEC, capsys, tmp_path, "--json")
    assert code == 0 and err == ""
    data = json.loads(out)
    truth = oracle.evaluate(SPEC)
    for name in ("ie", "nie", "see", "de", "mb", "chain", "output", "clip", "bound"):
        assert data[name] == pytest.approx(truth[name], abs=1e-10)
    assert data["mb_per_step"] == pytest.approx(truth["mb_per_step"], abs=1e-12)
    assert data["refused"] == {} and data["unit"] == "nats"


@pytest.mark.parametrize("sampler", ["exponential_integrator", "euler_maruyama"])
def test_frozen_samplers_give_one_number_for_see_and_de(sampler, capsys, tmp_path) -> None:
    code, out, _ = run(changed("generator", sampler=sampler), capsys, tmp_path, "--json")
    data = json.loads(out)
    assert code == 0 and data["see"] is None and data["de"] is None and data["bound"] is None
    total = data["ie"] + data["nie"] + data["see_plus_de"] + data["mb"]
    assert data["chain"] == pytest.approx(total) and data["path"] >= data["chain"]
    assert set(data["refused"]) == {"see", "de", "bound"}


def test_deterministic_sampler_has_no_chain(capsys, tmp_path) -> None:
    code, out, _ = run(changed("generator", sampler="ddim"), capsys, tmp_path, "--json")
    data = json.loads(out)
    assert code == 0 and data["chain"] is None and "chain" in data["refused"]
    assert data["output"] > 0.0


def test_table_is_readable(capsys, tmp_path) -> None:
    code, out, _ = run(changed(None, steps=..., frames=9), capsys, tmp_path, "--unit", "bits")
    assert code == 0 and "bits" in out and "chain KL" in out
    assert "9 frames (1 more generated and cut)" in out
    code, out, _ = run(changed("generator", sampler="ddim"), capsys, tmp_path)
    assert "no see, de, see_plus_de, chain" in out


BAD = [
    (changed("schedule", stride=8), "schedule.stride must be in 1..window (6), got 8"),
    (changed("schedule", t_min=0), "schedule.t_min must be positive (delta = 0"),
    (changed("schedule", t_min=4.0), "schedule.t_min must be below t_max"),
    (changed("schedule", window="six"), "schedule.window must be an integer"),
    (changed("schedule", substeps=True), "schedule.substeps must be an integer"),
    (changed("schedule", colour="red"), "schedule.colour must be one of the keys"),
    (changed("video", coefficients=[1.1]), "video.coefficients must be those of a stable chain"),
    (changed("video", coefficients="abc"), "video.coefficients must be a list"),
    (changed("video", noise_variance=-1), "video.noise_variance must be at least 0"),
    (changed("video", noise_varance=1), "video.noise_varance must be one of the keys"),
    (changed("video", coefficients=...), "video.coefficients must be given"),
    (changed("generator", reference=1.5), "generator.reference must be an integer"),
    (changed("generator", sampler="magic"), "generator.sampler must be one of"),
    (changed("generator", denoiser={"kind": "oracle"}), "generator.denoiser.kind must be one of"),
    (changed(None, steps=0), "steps must be an integer of at least 1"),
    (changed(None, steps=..., seps=3), "did you mean steps?"),
    (changed(None, frames=3), "steps must be given, or frames, but not both"),
    (changed(None, spec_version=2), "spec_version must be 1"),
    (changed(None, video=...), "video must be given"),
    (
        changed(None, video={"family": "covariance", "matrix": [[1, 2], [2, 1]]}),
        "video.matrix must be positive semi-definite, got smallest eigenvalue -1",
    ),
    (
        changed(None, video={"family": "covariance", "matrix": [[1, 0.2], [0, 1]]}),
        "video.matrix must be symmetric",
    ),
    (
        changed(None, video={"family": "covariance", "matrix": [[1, 0], [0, 1]]}),
        "which need 14 frames",
    ),
    (changed(None, video={"family": "frames", "path": "missing.mp4"}), "missing.mp4"),
    ("{", "specification must be valid JSON"),
    ("[1]", "specification must be a JSON object"),
    (json.dumps(SPEC).replace("3.0", "NaN"), "free of NaN"),
    (json.dumps(SPEC)[:-1] + ', "steps": 6}', "steps must be given once"),
]


@pytest.mark.parametrize(("spec", "text"), BAD, ids=range(len(BAD)))
def test_bad_specifications(spec: Any, text: str, capsys, tmp_path) -> None:
    """Exit 2, nothing on standard output, one line with key, constraint and value."""
    code, out, err = run(spec, capsys, tmp_path, "--json")
    assert code == 2 and out == ""
    assert err.count("\n") == 1 and text in err and ", got " in err


def test_missing_file_and_unknown_command(capsys) -> None:
    assert main(["decompose", "nowhere.json"]) == 2
    assert "SPEC must be a readable file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["decomposee"])
    assert stop.value.code == 2 and capsys.readouterr().out == ""


def test_runs_as_a_program_from_standard_input() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "arvdm_theory.cli", "decompose", "-", "--json"],
        input=json.dumps(SPEC),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["steps"] == 5


# --- the schema -----------------------------------------------------------------------------------


def test_schema_is_a_schema_and_knows_every_name() -> None:
    schema = specification.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(SPEC, schema)
    families = {v["properties"]["family"]["const"] for v in schema["$defs"]["video"]["oneOf"]}
    assert families == {*FAMILIES, "frames"}
    methods = {
        v["properties"]["method"]["const"] for v in schema["properties"]["schedule"]["oneOf"]
    }
    assert methods == set(METHODS)


@settings(max_examples=100, deadline=None)
@given(testing.worlds())
def test_every_world_has_a_valid_specification(world: testing.World) -> None:
    spec = json.loads(json.dumps(world.specification()))
    jsonschema.validate(spec, specification.schema())
    back = specification.Specification.from_json(spec)
    assert back.to_json() == specification.Specification.from_json(back.to_json()).to_json()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["video", "schedule", "generator", None]),
    st.sampled_from(
        ["coefficients", "dim", "mean", "window", "stride", "t_max", "t_min", "substeps", "method"]
        + ["family", "denoiser", "memory", "sampler", "reference", "steps", "initialisation"]
    ),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-3, 9)
        | st.floats(-5, 5)
        | st.sampled_from(["", "fifo", "exact", "none", "custom"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["kind", "mean", "weights", "substeps", "factor", "x"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=4,
    ),
)
def test_any_corruption_is_a_number_or_a_named_refusal(section, key, value) -> None:
    """No specification makes the reader fail in any other way than with a named error."""
    spec = changed(section, **{key: value})
    out, err = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.json"
        path.write_text(json.dumps(spec))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["decompose", str(path), "--json"])
    if code == 0:
        assert err.getvalue() == "" and json.loads(out.getvalue())["steps"] >= 1
    else:
        assert code == 2 and out.getvalue() == ""
        assert err.getvalue().count("\n") == 1 and ", got " in err.getvalue()


EXTREME = [
    changed("video", mean=1e200),
    changed("video", noise_variance=1e200),
    changed("video", dim=10**12),
    changed("schedule", t_min=1e-310),
    changed("schedule", t_max=299.0, substeps=1),
    changed("schedule", window=10**12),
    changed("generator", denoiser={"kind": "scaled", "factor": 1e160}),
    changed("generator", denoiser={"kind": "estimated", "videos": 10**15}),
    changed("generator", memory={"kind": "recursive", "transition": [[1e200]], "input": [[1.0]]}),
    changed(None, steps=10**15),
    json.dumps(SPEC).replace("0.3", "1" + "0" * 400),
    json.dumps(SPEC).replace("0.3", "1e400"),
]


@pytest.mark.parametrize("spec", EXTREME, ids=range(len(EXTREME)))
def test_extreme_values_are_a_number_or_a_refusal(spec: Any, capsys, tmp_path) -> None:
    code, out, err = run(spec, capsys, tmp_path, "--json")
    if code == 0:
        assert err == "" and json.loads(out)["chain"] > 0.0
    else:
        assert code == 2 and out == "" and err.count("\n") == 1 and ", got " in err


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ("video", {"coefficients": ["0.5"]}),
        ("video", {"mean": True}),
        ("video", {"mean": "1.5"}),
        ("schedule", {"context_noise": "noise", "context_level": True}),
        ("generator", {"denoiser": {"kind": "biased", "bias": "0.1"}}),
    ],
)
def test_text_and_booleans_are_not_numbers(section, keys, capsys, tmp_path) -> None:
    code, out, err = run(changed(section, **keys), capsys, tmp_path)
    assert (code == 2 and out == "" and "numbers" in err) or "OU time" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", "-5:"], "frames must be a:b with 0 <= a < b <= 30, got -5:"),
        (["--frames=-5:-1"], "frames must be a:b with 0 <= a < b <= 30, got -5:-1"),
        (["--frames", " -5:"], "frames must be a:b with 0 <= a < b <= 30, got -5:"),
        (["--crop", "-3:2,0:2"], "crop (x) must be a:b with 0 <= a < b <= 4, got -3:2"),
    ],
)
def test_a_range_with_a_minus_is_refused_as_a_range(options, message, capsys, tmp_path) -> None:
    clip = tmp_path / "clip.npy"
    np.save(clip, np.random.default_rng(0).integers(0, 256, (30, 2, 4)).astype(np.uint8))
    assert main(["analyze", str(clip), "--out", str(tmp_path / "out"), *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == f"arvdm: {message}\n"
    # an option that follows is still an option
    with pytest.raises(SystemExit):
        main(["analyze", str(clip), "--frames", "--json"])
    assert "expected one argument" in capsys.readouterr().err


# --- the other commands ---------------------------------------------------------------------------


def out_of(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    try:
        code = main(list(arguments))
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2 and captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_help_is_a_table_of_contents(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    for name, command in COMMANDS.items():
        assert f"  {name} " in text and command.purpose in text and command.example in text
        assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_its_own_parser_takes(name, capsys) -> None:
    example = COMMANDS[name].example
    with pytest.raises(SystemExit):
        main([name, "--help"])
    text = capsys.readouterr().out
    assert f"example:\n  {example}" in text and text.startswith(f"usage: arvdm {name}")
    words = re.search(r"arvdm ([^>)|]*)", example)
    assert words is not None
    assert _parsed(words[1].strip('" ').split()).command == name


def test_unknown_names_suggest_the_nearest(capsys) -> None:
    assert "did you mean decompose?), got decomposee" in refused(capsys, "decomposee")
    assert "did you mean --json?" in refused(capsys, "decompose", "x.json", "--jsno")
    assert "did you mean R2?), got R22" in refused(capsys, "formula", "R22")
    assert "did you mean" in refused(capsys, "cite", "R7")
    assert "did you mean" not in refused(capsys, "zzzzzz")


def test_cite_prints_bibtex(capsys) -> None:
    assert out_of(capsys, "cite", "R2") == citation("R2")
    assert json.loads(out_of(capsys, "cite", "--json"))["bibtex"] + "\n" == citation()


def test_memory_gives_the_calculators_numbers(capsys, tmp_path) -> None:
    video = Autoregressive([0.3, 0.6], 0.3)
    alone, whole = tmp_path / "video.json", tmp_path / "spec.json"
    alone.write_text(json.dumps(video.to_json()))
    whole.write_text(json.dumps({"video": video.to_json(), "steps": 3}))
    asked = ["--window", "1", "2", "--numbers", "1", "--budget", "0.5", "--level", "0.05"]
    text = out_of(capsys, "memory", str(alone), *asked, "--unit", "bits", "--json")
    assert text == out_of(capsys, "memory", str(whole), *asked, "--unit", "bits", "--json")
    rows = {row["memory"]: row for row in json.loads(text)["forgotten"]}
    expected = window_memory_bottleneck(video, [1, 2], level=0.05, unit="bits").values
    budget = memory_budget(video, level=0.05, unit="bits").floor(0.5)
    updated = recursive_memory_floor(video, 1, level=0.05, unit="bits").floor
    assert rows["the last 1 frame"]["value"] == expected[0]
    assert rows["the last 2 frames"]["value"] == expected[1]
    assert rows["0.5 bits of any memory"]["value"] == budget.value
    assert rows["1 number, updated by every frame"]["value"] == updated.value
    assert {row["theorems"][0] for row in rows.values()} == {"R5", "R1", "R6", "R2"}
    table = out_of(capsys, "memory", str(alone), *asked)
    assert "nats a frame" in table and len(table.splitlines()) == 8


def test_memory_says_why_a_number_is_infinite(capsys, tmp_path) -> None:
    path = tmp_path / "video.json"
    path.write_text(json.dumps(Panorama([0, 1, 2, 1, 0], 2, 2.0, 1.0).to_json()))
    [row] = json.loads(out_of(capsys, "memory", str(path), "--window", "1", "--json"))["forgotten"]
    assert row["value"] is None and row["reason"]
    assert row["reason"] in out_of(capsys, "memory", str(path), "--window", "1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "VIDEO must be a JSON object, got list"),
        ("{", "VIDEO must be valid JSON"),
        ('{"family": "autoregressve"}', "autoregressve"),
        (None, "VIDEO must be a readable JSON file"),
    ],
)
def test_memory_refuses_what_is_no_video(text, message, capsys, tmp_path) -> None:
    path = tmp_path / "video.json"
    if text is not None:
        path.write_text(text)
    assert message in refused(capsys, "memory", str(path))


def test_formula_lists_explains_and_evaluates(capsys) -> None:
    pytest.importorskip("sympy")
    assert "E5_memory" in out_of(capsys, "formula").splitlines()
    assert out_of(capsys, "formula", "R2", "--latex").startswith(r"\mathrm{MB}^*(c) =")
    data = json.loads(out_of(capsys, "formula", "R2", "--at", "rho=0.9", "c=0", "--json"))
    assert data["value"] == pytest.approx(-0.5 * np.log1p(-0.81)) and data["theorem"] == "R2"
    assert "value: 0.83036" in out_of(capsys, "formula", "R2", "--at", "rho=0.9", "c=0")
    assert "rho must be in (-1, 1), got 2.0" in refused(
        capsys, "formula", "R2", "--at", "rho=2", "c=0"
    )
    assert "--at must be arguments such as" in refused(capsys, "formula", "R2", "--at", "rho")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_is_a_script(shell, capsys) -> None:
    script = out_of(capsys, "completion", shell)
    for name in COMMANDS:
        assert name in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes(capsys) -> None:
    script = out_of(capsys, "completion", "bash")
    asked = [(1, "arvdm dec", "decompose"), (2, "arvdm decompose --un", "--unit")]
    for position, words, answer in asked:
        ask = f"COMP_WORDS=({words}); COMP_CWORD={position}; _arvdm; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(
            ["bash"], input=f"{script}\n{ask}", text=True, capture_output=True, check=True
        )
        assert done.stdout.strip() == answer


def test_tables_on_a_terminal_hold_the_same_numbers(monkeypatch) -> None:
    rows = [("the last 1 frame", "0.25"), ("the last 12 frames", "0.125")]
    plain = _aligned(("memory", "nats"), rows)
    assert plain.splitlines()[1] == "the last 1 frame     0.25"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = _aligned(("memory", "nats"), rows)  # by rich, if it is installed
    for row in rows:
        for cell in row:
            assert cell in shown


# --- long roll-outs -------------------------------------------------------------------------------

STILL = {"family": "static_latent", "latent_variance": 1.0, "noise_variance": 0.5}
LONG = {"schedule": {"method": "next_frame", "t_max": 3.0, "t_min": 0.05, "substeps": 1}}


def test_totals_of_any_number_of_steps(capsys, tmp_path) -> None:
    code, out, _ = run(changed(None, steps=10**15), capsys, tmp_path, "--json", "--totals")
    data = json.loads(out)
    assert code == 0 and data["settled"] < 1000 and data["output"] <= data["chain"]
    _, short, _ = run(SPEC, capsys, tmp_path, "--json")
    _, totals, _ = run(SPEC, capsys, tmp_path, "--json", "--totals")
    found = json.loads(totals)
    assert found["chain"] == pytest.approx(json.loads(short)["chain"], rel=1e-12)
    assert not any(name.endswith("_per_step") for name in found)
    code, out, _ = run(changed(None, steps=10**6), capsys, tmp_path, "--totals")
    assert code == 0 and "is the same, to rounding" in out and "step  " not in out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("flags", "terminal", "shown"),
    [((), True, True), (("--quiet",), True, False), (("--json",), True, False), ((), False, False)],
)
def test_progress_is_a_line_on_the_terminal_that_goes_away(
    flags: tuple[str, ...], terminal: bool, shown: bool, capsys, tmp_path, monkeypatch
) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"video": STILL, **LONG, "steps": 300}))
    monkeypatch.setattr("arvdm_theory.cli._PATIENCE", 0.0)
    monkeypatch.setattr("arvdm_theory.cli._EVERY", 0.0)
    screen = Terminal() if terminal else io.StringIO()
    with contextlib.redirect_stderr(screen):
        assert main(["decompose", str(path), "--totals", *flags]) == 0
    text = screen.getvalue()
    assert ("AR steps: 300 of 300" in text) == shown
    assert text == "" if not shown else text.endswith("\r\x1b[K")
    assert "AR steps:" not in capsys.readouterr().out


def test_short_work_shows_no_progress(tmp_path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(SPEC))
    with contextlib.redirect_stderr(Terminal()) as screen:
        assert main(["decompose", str(path)]) == 0
    assert screen.getvalue() == ""


def test_progress_goes_away_before_an_error_is_said(tmp_path, monkeypatch) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"video": STILL, **LONG, "steps": 10**12}))
    monkeypatch.setattr("arvdm_theory.cli._PATIENCE", 0.0)
    monkeypatch.setattr("arvdm_theory.decomposition._PATIENCE", 200)
    with contextlib.redirect_stderr(Terminal()) as screen:
        assert main(["decompose", str(path), "--totals"]) == 2
    shown, said = screen.getvalue().rsplit("\r\x1b[K", 1)
    assert "AR steps" in shown and "no steady state" in said and said.count("\n") == 1
