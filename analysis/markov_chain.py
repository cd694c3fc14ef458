r"""What does a generator lose that sees the past only through its input (and a memory)?

Exact: past X, input Y and output Z of one AR step on Gaussian video, and a memory $m = AX + n$. The
best generator that sees Y alone is the Markov chain X → Y → Z; its distance from the truth is
$I(X;Z|Y)$ (M2), of which a memory leaves $I(X;Z|Y,m) = I(X;Z|Y) - I(m;Z|Y)$ (M1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas

from analysis.cases import LEVELS, VIDEOS
from analysis.study import Config, Study
from arvdm_theory import noise
from arvdm_theory.errors import ParameterError
from arvdm_theory.memory import canonical_correlations, conditional_information, impossibility_floor
from arvdm_theory.video import GaussianVideo

__all__ = ["EDGES", "NODES", "STUDY", "joint", "run"]

NODES = ("X", "Y", "Z", "m")
"""Past, input, output, memory."""

CONFIG: dict[str, Any] = {
    "video": {**VIDEOS["panorama"], "positions": VIDEOS["panorama"]["positions"][:13]},
    "reference": 3,
    "output": 1,
    "level": LEVELS["t_min"],
    "memory": 1,
    "memory_noise": 0.25,
}
"""The camera pans over 6 pixels and back: frame 13 shows frame 1's view again. `memory` numbers
are the first canonical directions, in units of their standard deviation."""


def joint(config: Config) -> tuple[np.ndarray, dict[str, list[int]]]:
    """Covariance of (X, Y, Z, m) and the coordinates of each."""
    video = GaussianVideo.from_json(dict(config["video"]))
    frames = video.length
    if frames is None:
        raise ParameterError("video", "finite", config["video"]["family"])
    alpha = float(noise.alpha(config["level"]))
    covariance = alpha**2 * video.covariance(frames)
    covariance = covariance + (1.0 - alpha**2) * np.eye(len(covariance))
    ends = [0, frames - config["output"] - config["reference"], frames - config["output"], frames]
    where = {
        node: list(range(video.dim * a, video.dim * b))
        for node, a, b in zip("XYZ", ends, ends[1:], strict=False)
    }
    found = canonical_correlations(covariance, where["X"], where["Z"], where["Y"])
    assert found.directions is not None
    weights = found.directions[: config["memory"]]
    past = covariance[np.ix_(where["X"], where["X"])]
    weights = weights / np.sqrt(np.diag(weights @ past @ weights.T))[:, None]
    read = np.eye(len(covariance), len(covariance) + len(weights)).T
    read[len(covariance) :, where["X"]] = weights
    whole = read @ covariance @ read.T
    where["m"] = list(range(len(covariance), len(whole)))
    whole[where["m"], where["m"]] += config["memory_noise"] ** 2
    return 0.5 * (whole + whole.T), where


EDGES: dict[str, Sequence[tuple[str, str, str]]] = {
    "truth": (("X", "Y", ""), ("Y", "Z", ""), ("X", "Z", "Y")),
    "chain": (("X", "Y", ""), ("Y", "Z", ""), ("X", "Z", "Y")),
    "memory": (("X", "Y", ""), ("Y", "Z", ""), ("X", "m", "Y"), ("m", "Z", "Y"), ("X", "Z", "Ym")),
}
"""Graph → edges (from, to, given). The edge X–Z of `memory` is what the memory leaves."""


def compute(config: Config) -> pandas.DataFrame:
    """One row an edge: its information in nats, in what law, with bounds on rounding."""
    covariance, where = joint(config)
    frames = covariance[: where["m"][0], : where["m"][0]]
    chain = impossibility_floor(frames, where["X"], where["Z"], where["Y"]).covariance
    laws = {"truth": frames, "chain": chain, "memory": covariance}
    out = []
    for graph, edges in EDGES.items():
        for one, other, given in edges:
            known = [place for node in given for place in where[node]]
            value = conditional_information(laws[graph], where[one], where[other], known)
            out.append(
                {
                    "graph": graph,
                    "from": one,
                    "to": other,
                    "given": given,
                    "nats": float(value),
                    "lower": value.lower,
                    "upper": value.upper,
                }
            )
    return pandas.DataFrame(out)


STUDY = Study(
    name="markov_chain",
    question="What does a generator lose that sees the past only through its input?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
