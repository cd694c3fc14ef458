"""Which frames does the rule of a world call the same? Pairs of true frames, judged by it.

Every chosen view of the clips beside itself, blurred; beside the view that the camera had some
steps later; and beside a view of another clip. No network takes part. What is judged are numbers of
`arvdm_theory.empirical`: SSIM, PSNR and the Lab distance of regions (ΔE).
"""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pandas
import scipy.ndimage

from analysis.inference import mean_over, resolution
from analysis.study import Config, Outcome, Study
from arvdm_theory.empirical import RULES, frame_scores
from arvdm_theory.errors import ArvdmError
from paper_repro.worlds import World, world_from_json
from paper_repro.worlds.sheet import png_bytes
from paper_repro.worlds.walk import CLIPS_A_MAP

__all__ = ["GROUPS", "STUDY", "pairs_file", "run"]

CONFIG: dict[str, Any] = {
    "worlds": {
        "maze": {"world": {"name": "maze", "size": 32}, "rule": "lab_regions", "threshold": 8.0},
        "blocks": {"world": {"name": "blocks", "size": 32}, "rule": "ssim", "threshold": 0.4},
    },
    "clips": 40,
    "clips_a_map": 4,
    "context": 17,
    "seed": 40_000,
    "frames": [0, 6, 12],
    "blurs": [0.5, 1.0, 2.0, 4.0],
    "steps": [1, 2, 4],
    "edges": [-1.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    "confidence": 0.95,
}
"""`clips_a_map`: a divisor of 16; `blurs`: standard deviations in pixels; `steps` of the camera;
`edges` of the bins of SSIM."""
GROUPS = ("the same view, blurred", "another view")
COLUMNS = (
    *("world", "group", "kind", "clip", "frame", "other_clip", "other_frame", "blur"),
    *("ssim", "psnr_db", "delta_e", "rule", "threshold", "accepted", "bin", "example"),
    *("share", "share_low", "share_high", "clips", "missing"),
)


def pairs_file(world: str) -> str:
    """Name of the picture of a world's examples: first frames above second ones."""
    return f"{world}.png"


def compute(config: Config) -> Outcome:
    """One row a pair: which frames, `ssim`, `psnr_db` (dB), `delta_e`, `accepted` by the rule.

    `bin`: lower end of the bin of SSIM that the pair is in. `example`: a letter for the pair whose
    SSIM is nearest to the middle of its bin, one a bin and group, else empty. `share` of the pairs
    of its kind that are accepted, with its interval over `clips`. Files: the examples of a world in
    the order of their letters, `(2 H, examples W, 3)`. A world that cannot be drawn is one row that
    says why in `missing`.
    """
    tables: list[pandas.DataFrame] = []
    files: dict[str, bytes] = {}
    for name, entry in config["worlds"].items():
        try:
            views = _views(world_from_json(entry["world"]), config)
        except (ArvdmError, ImportError) as error:  # an extra that is not installed
            reason = " ".join(str(error).split())
            tables.append(pandas.DataFrame([{"world": name, "missing": reason}], columns=COLUMNS))
            continue
        table, pairs = _pairs(views, config)
        table = _judged(table.assign(world=name), pairs, entry)
        table["bin"] = np.asarray(config["edges"])[_bins(table["ssim"], config)]
        table["example"] = _examples(table, config)
        table = table.join(_shares(table, config), on="kind")
        shown = table[table["example"] != ""].sort_values("example").index
        lines = [np.concatenate(list(pairs[shown, side]), axis=1) for side in (0, 1)]
        files[pairs_file(name)] = png_bytes(np.ascontiguousarray(np.concatenate(lines)))
        tables.append(table.assign(missing="")[list(COLUMNS)])
    return Outcome(pandas.concat(tables, ignore_index=True), files)


def _views(world: World, config: Config) -> np.ndarray:
    """What the camera sees on its way out, `(clips, context, H, W, 3)` in bytes."""
    every = CLIPS_A_MAP // config["clips_a_map"]
    clips = world.return_clips(every * config["clips"], config["context"], 1, config["seed"])
    return clips.frames[::every, : config["context"]]


def _pairs(views: np.ndarray, config: Config) -> tuple[pandas.DataFrame, np.ndarray]:
    """What each pair is, and its two frames `(pairs, 2, H, W, 3)` in bytes."""
    clips = np.arange(len(views))
    following = np.roll(clips, -1)
    rows: list[dict[str, Any]] = []
    frames: list[np.ndarray] = []

    def add(kind: str, other: np.ndarray, group: int, frame: int, **named: Any) -> None:
        for clip in clips:
            rows.append({"group": GROUPS[group], "kind": kind, "clip": clip, "frame": frame})
            rows[-1] |= {key: of[clip] for key, of in named.items()}
            frames.append(np.stack([views[clip, frame], other[clip]]))

    for frame in config["frames"]:
        here = np.full(len(views), frame)
        for blur in config["blurs"]:
            smooth = scipy.ndimage.gaussian_filter(
                views[:, frame].astype(np.float64), (0.0, blur, blur, 0.0), mode="nearest"
            )
            seen = np.rint(smooth).astype(np.uint8)
            named = {"other_clip": clips, "other_frame": here, "blur": np.full(len(views), blur)}
            add(f"blurred by {blur:g} px", seen, 0, frame, **named)
        for steps in config["steps"]:
            kind = f"{steps} step{'s' if steps > 1 else ''} on"
            named = {"other_clip": clips, "other_frame": here + steps}
            add(kind, views[:, frame + steps], 1, frame, **named)
        named = {"other_clip": following, "other_frame": here}
        add("another clip", views[following, frame], 1, frame, **named)
    return pandas.DataFrame(rows).astype({"blur": float}), np.stack(frames)


def _judged(table: pandas.DataFrame, pairs: np.ndarray, entry: Config) -> pandas.DataFrame:
    for column, rule in (("ssim", "ssim"), ("psnr_db", "psnr"), ("delta_e", "lab_regions")):
        scores = frame_scores(pairs[:, :1], pairs[:, 1:], rule=rule)[:, 0]
        table[column] = scores
        if rule == entry["rule"]:
            sign = 1.0 if RULES[rule].higher else -1.0
            table["accepted"] = sign * scores >= sign * entry["threshold"]
    return table.assign(rule=entry["rule"], threshold=entry["threshold"])


def _bins(ssim: pandas.Series, config: Config) -> np.ndarray:
    """Which bin each value is in; the last one holds its upper end too."""
    edges = config["edges"]
    return np.minimum(np.searchsorted(edges, ssim, side="right") - 1, len(edges) - 2)


def _examples(table: pandas.DataFrame, config: Config) -> list[str]:
    edges = np.asarray(config["edges"])
    place = _bins(table["ssim"], config)
    away = np.abs(table["ssim"] - 0.5 * (edges[place] + edges[place + 1]))
    keys = [table["bin"], pandas.Categorical(table["group"], GROUPS, ordered=True)]
    chosen = away.groupby(keys, observed=True).idxmin()
    letters = dict(zip(chosen, string.ascii_letters, strict=False))
    return [letters.get(index, "") for index in table.index]


def _shares(table: pandas.DataFrame, config: Config) -> pandas.DataFrame:
    """Accepted of each kind: the mean over clips of each clip's share, with its interval.

    Clips of one map are alike and count as one.
    """
    each = table.groupby(["kind", "clip"], sort=False)["accepted"].mean().unstack()
    maps = each.columns.to_numpy() // config["clips_a_map"]
    floor = resolution(each.shape[1])
    means = mean_over(each.to_numpy()[:, None, :], floor=floor, clusters=maps)
    low, high = means.interval(config["confidence"])
    shares = {
        "share": means.value,
        "share_low": np.maximum(low, 0.0),  # a share is no less, and no more than 1
        "share_high": np.minimum(high, 1.0),
        "clips": means.clips,
    }
    return pandas.DataFrame(shares, index=each.index)


STUDY = Study(
    name="frame_pairs",
    question="Which pairs of true frames does the rule of a world call the same view?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
