r"""What retrieval rates certify about KL(P‖Q) (M5): measured rates, and published ones if n was ...

M5: for any event of the whole video $KL(P\|Q) \ge kl_{bin}(s_P\|s_Q)$. Here P is the law of a
world's return clips, Q that of a network's continuation of the same context, and the event: every
frame whose view was last seen more than `after` and at most `up_to` frames ago counts as retrieved.
Returning views are the views of the way out bit for bit, so the truth always succeeds, $s_P = 1$,
and $KL \ge \log(1/s_Q)$; what is certified is $\log(1/u)$ with u the upper Clopper–Pearson limit of
$s_Q$ over clips. Every frame of a video is scored as the network's last estimate of it; that is the
law Q the bound is about.

Test clips come in groups that share a map. Given the maps, clips are independent trials of unequal
chances, and binomial tails still hold for their mean (Hoeffding 1956): that is the bound for the
law on *these* maps. For the law over all maps only one clip a map is independent of the others:
`kl_bound_all_maps`, from so few trials.

Published rates come without n. `published_kl_bound` says what *would* be certified if the rate was
a share of n independent trials, all of which the truth passes. Table 2 prints mean SSIM, no rate:
by Markov's inequality $P_Q(SSIM \ge \tau) \le (1+E_Q SSIM)/(1+\tau)$, with Hoeffding's limit of the
mean, and under the further assumption that the truth returns with SSIM of at least τ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas

from analysis.measured_rows import FOLDER, Rows, inputs, published_rows, quantity_of_clips, read
from analysis.study import Config, Study
from arvdm_theory.checks import positive_integer
from arvdm_theory.empirical import Proportion, needle_bound, published_rate_bound
from arvdm_theory.errors import ParameterError
from paper_repro import published

__all__ = ["STUDY", "compatible_n", "run", "ssim_bound"]

CONFIG: dict[str, Any] = {
    "results": FOLDER,
    "worlds": ["maze", "blocks"],
    "spans": [[0, 4], [4, 12], [12, 28]],
    "clips_a_map": 16,
    "confidence": 0.95,
    "assumed_n": [10, 16, 25, 32, 50, 100, 200, 500, 1000],
    "ssim_of_truth": 0.9,
}
PRINTED = 0.005
"""Half a unit of the last digit that the paper prints."""
COLUMNS = (
    *("source", "table", "world", "row", "structure", "memory", "compression", "budget", "span"),
    *("seed", "rule", "measured_successes", "measured_clips", "measured_rate", "measured_upper"),
    *("measured_chance", "measured_kl_plug_in", "measured_kl_bound"),
    *("maps", "measured_kl_bound_all_maps", "simultaneous"),
    *("published_quantity", "published_value", "assumed_n", "published_kl_bound"),
    *("published_kl_limit", "smallest_compatible_n", "statement"),
)


def ssim_bound(mean: float, n: int | None, truth: float, confidence: float = 0.95) -> float:
    r"""M5 for the event SSIM ≥ `truth`, from a mean SSIM over `n` independent videos (None: exact).

    $KL \ge \log\frac{1+\tau}{1+u}$, u the upper limit of the mean SSIM: by Hoeffding
    $\bar s + \sqrt{2\log(1/\alpha)/n}$ for values in [-1, 1]; 0 if u ≥ τ. Nats.

    >>> round(ssim_bound(0.37, None, 0.9), 3), ssim_bound(0.37, 10, 0.9)
    (0.327, 0.0)
    """
    if not -1.0 <= mean <= 1.0:
        raise ParameterError("mean", "in [-1, 1]", mean)
    if not -1.0 < truth <= 1.0:
        raise ParameterError("truth", "in (-1, 1]", truth)
    reach = 0.0
    if n is not None:
        reach = math.sqrt(2.0 * math.log(1.0 / (1.0 - confidence)) / positive_integer("n", n))
    upper = mean + reach
    return math.log((1.0 + truth) / (1.0 + upper)) if upper < truth else 0.0


def compatible_n(values: Iterable[float], digits: int = 2, up_to: int = 99) -> list[int]:
    """All n for which every printed share is some k/n, rounded (either way at a tie).

    >>> compatible_n([0.33, 0.67], up_to=9)
    [3, 6, 9]
    """
    printed = list(values)
    half = 0.5 * 10.0**-digits * (1.0 + 1e-9)
    return [
        n
        for n in range(1, up_to + 1)
        if all(abs(round(value * n) / n - value) <= half for value in printed)
    ]


def compute(config: Config) -> pandas.DataFrame:
    """One row per network, training seed and span, and per published value and assumed n.

    `measured_kl_bound`: nats, holds with `confidence` for all spans of a network together
    (`simultaneous` of them), on the maps of the test; `measured_kl_bound_all_maps` alike, from one
    clip of each of `maps` maps. `measured_chance`: share of clips that pass against the truth of
    another clip (mostly of the same map). `published_kl_bound`: if the value came of `assumed_n`
    independent videos; `published_kl_limit`: if of infinitely many; either allows for the rounding
    of what is printed. `smallest_compatible_n`: the least number of trials of which all printed
    shares of the span could be shares, if below 100. Measured and published numbers share no
    column.
    """
    rows = read(config["results"])
    out: list[dict[str, Any]] = []
    for known in published_rows():
        for world in config["worlds"]:
            out += _measured(rows, world, known, config)
    for number in (1, 2):
        out += _published(number, config)
    return pandas.DataFrame(out, columns=list(COLUMNS))


def _measured(
    rows: Rows, world: str, known: dict[str, Any], config: Config
) -> list[dict[str, Any]]:
    out = []
    spans = config["spans"]
    error = (1.0 - config["confidence"]) / len(spans)
    for seed, network in sorted(rows.found.get((world, known["row"]), {}).items()):
        for after, up_to in spans:
            right, by_chance = (
                quantity_of_clips(network, f"{name}:{after}:{up_to}")
                for name in ("retrieval", "chance")
            )
            shown = np.isfinite(right)
            won = right[shown] == 1.0
            rate = Proportion(int(won.sum()), int(won.size), config["confidence"])
            bound = needle_bound(1.0, rate, 1.0 - error)
            one = won[:: config["clips_a_map"]] if shown.all() else won[:0]
            over_maps = math.nan
            if one.size:
                apart = Proportion(int(one.sum()), int(one.size))
                over_maps = needle_bound(1.0, apart, 1.0 - error).value
            out.append(
                {
                    "source": "measured",
                    "world": world,
                    "row": known["row"],
                    "structure": known["structure"],
                    "memory": network.manifest["experiment"]["network"]["memory"],
                    "compression": known["compression"],
                    "budget": network.manifest["experiment"]["network"]["budget"],
                    "span": f"{after}-{up_to}",
                    "seed": seed,
                    "rule": network.statement,
                    "measured_successes": rate.successes,
                    "measured_clips": rate.n,
                    "measured_rate": rate.value,
                    "measured_upper": bound.generated_upper,
                    "measured_chance": float((by_chance[shown] == 1.0).mean()),
                    "measured_kl_plug_in": bound.plug_in,
                    "measured_kl_bound": bound.value,
                    "maps": int(one.size),
                    "measured_kl_bound_all_maps": over_maps,
                    "simultaneous": len(spans),
                    "statement": f"KL ≥ {bound.value:.3f} nats with {config['confidence']:.0%}, "
                    f"all {len(spans)} spans of the network together, on the maps of the test",
                }
            )
    return out


def _published(number: int, config: Config) -> list[dict[str, Any]]:
    table = published.load(number)
    described = published.TABLES[number]
    out = []
    for span in published.SPANS[number]:
        smallest = compatible_n(table[span]) if number == 1 else []
        for known in published_rows():
            if number not in known["printed"]:
                continue
            value = known["printed"][number][span]
            row = {
                "source": "published",
                "table": number,
                "world": described.world,
                **{key: known[key] for key in ("row", "structure", "memory", "compression")},
                "budget": known["budget"],
                "span": span.removeprefix("span_").replace("_", "-"),
                "published_quantity": described.quantity,
                "published_value": value,
                "smallest_compatible_n": smallest[0] if smallest else math.nan,
            }
            ns, confidence = config["assumed_n"], config["confidence"]
            if number == 1:
                found = published_rate_bound(value, ns, confidence=confidence, rounding=PRINTED)
                bounds = [bound.value for bound in found]
                limit = -math.log(min(1.0, value + PRINTED))
                given = "the truth always succeeds"
            else:
                truth = config["ssim_of_truth"]
                bounds = [ssim_bound(value + PRINTED, n, truth, confidence) for n in ns]
                limit = ssim_bound(value + PRINTED, None, truth)
                given = f"the truth returns with SSIM ≥ {truth:g}"
            for n, bound in zip(ns, bounds, strict=True):
                statement = f"if n was {n} and {given}: KL ≥ {bound:.3f} nats with {confidence:.0%}"
                out.append(
                    {
                        **row,
                        "assumed_n": n,
                        "published_kl_bound": bound,
                        "published_kl_limit": limit,
                        "statement": statement,
                    }
                )
    return out


STUDY = Study(
    name="retrieval_bounds",
    question="What do retrieval rates certify about the KL divergence of the generated videos?",
    revision=2,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: (
        inputs(config["results"])
        + [f"paper_repro/published/{published.TABLES[number].file}" for number in (1, 2)]
    ),
)
run = STUDY.run
