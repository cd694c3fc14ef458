"""The command line: its contract, its exit codes, and what it refuses."""

from __future__ import annotations

import contextlib
import io
import json
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

from arvdm_theory import specification, testing
from arvdm_theory.cli import main
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
