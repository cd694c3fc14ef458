r"""Is a roll-out's degradation foretold by what is measured without rolling out?

One network a world and training seed, trained on a mixture of levels, under ten schedules of the
same number of levels (`paper_repro.many_schedules`). Measured: the squared error of every span of
roll-outs to and fro. Predicted, on other clips, without roll-out:

- `loss`: Theorem C's loss per finished frame. Up to terms at the ends of the video its differences
  between schedules are those of the chain KL, which grows with every frame. That is a statement
  about a divergence between laws, not about a squared error: that the two have the same order is a
  claim that may fail.
- `one_pass`: the squared error of one pass through the window with true frames in the memory,
  $e(t)$, summed over the copies of the content: frame t repeats a view of `age` frames ago, so
  $\hat m(t) = e(t) + \hat m(t - age(t))$, and 0 for given frames; at most what chance gives.

The rank correlation is among the schedules of one network in one span, mean over the spans. Errors
grow along the video, and so does every sum of positive terms: over spans any prediction would be
in order, so this counts for nothing (`rank_correlation_over_spans` shows how much it would).

A schedule under which the error of one pass is above half of chance forgets rather than
accumulates: it is marked, and left out. A network shows a rank correlation if `SCHEDULES` are left.

With few training seeds a cluster bootstrap is too sure of itself: of three networks that are right
or wrong by chance all three are right with probability 1/8, and then so is every resample. A
p-value is therefore the larger of that of the bootstrap (over seeds, and over the clips that all
of them share) and that of Student's t over seeds (`analysis.inference`), and so are intervals. t
asks how much the three differ, and takes them for normal: nothing but more seeds can do without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas
from scipy.stats import rankdata

from analysis.inference import Mean, mean_over
from analysis.measured_rows import FOLDER, Measured, Rows, inputs, read
from analysis.study import Config, Study

__all__ = [
    "PREDICTIONS",
    "ROW",
    "SCHEDULES",
    "STUDY",
    "Clustered",
    "Network",
    "correlations",
    "over_clips",
    "rank_order",
    "run",
    "seeds_with_rank_order",
]

ROW = "many-schedules"
PREDICTIONS = ("loss", "one_pass")
SCHEDULES = 8
"""Fewest schedules, without the marked ones, whose order is judged."""
FORGETTING = 0.5
"""Share of the error by chance above which the error of one pass means forgetting."""
GROUPS = 20
REPLICATES = 2000

CONFIG: dict[str, Any] = {"results": FOLDER, "replicates": REPLICATES, "confidence": 0.95}


# --- one network ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Network:
    """What was measured of one network, by schedule and clip.

    Arguments
    ---------
    error: `(schedules, clips, spans)`, squared error along roll-outs, mean over the span.
    copied: `(schedules, other clips, frames)`, errors of one pass summed over the copies.
    one_pass: `(schedules, other clips)`, errors of one pass, mean over frames.
    loss: `(schedules, other clips)`, T1 in nats per finished frame.
    chance: `(frames,)`, squared error of another clip's frame.
    span: frames in a span; names: of the schedules.
    """

    error: np.ndarray
    copied: np.ndarray
    one_pass: np.ndarray
    loss: np.ndarray
    chance: np.ndarray
    span: int
    names: tuple[str, ...]

    @staticmethod
    def of(measured: Measured) -> Network:
        """From shipped results."""
        settings = measured.manifest["many_schedules"]
        arrays = {
            name: measured.arrays[f"schedule_{name}"].astype(np.float64)
            for name in ("error", "one_pass", "loss", "chance")
        }
        span, rolled = settings["span"], len(arrays["error"][0])
        age = measured.arrays["schedule_age"].astype(np.int64)[rolled:]
        schedules, clips, frames = arrays["error"].shape
        return Network(
            error=arrays["error"].reshape(schedules, clips, frames // span, span).mean(axis=-1),
            copied=summed_over_copies(arrays["one_pass"], age),
            one_pass=arrays["one_pass"].mean(axis=-1),
            loss=arrays["loss"],
            chance=arrays["chance"].mean(axis=0),
            span=span,
            names=tuple(settings["schedules"]),
        )

    @property
    def forgets(self) -> np.ndarray:
        """Which schedules are marked, `(schedules,)`."""
        return np.asarray(self.one_pass.mean(axis=1) > FORGETTING * self.chance.mean())

    @property
    def judged(self) -> bool:
        """Whether enough schedules are left."""
        return int((~self.forgets).sum()) >= SCHEDULES

    def measured(self, weights: np.ndarray) -> np.ndarray:
        """Error of the spans, `(R, schedules, spans)`, for weights of the clips `(R, clips)`."""
        return _mean_over_clips(self.error, weights)

    def predicted(self, prediction: str, weights: np.ndarray) -> np.ndarray:
        """What is predicted for them, `(R, schedules, spans)`: squared errors, or summed nats."""
        spans = self.error.shape[-1]
        if prediction == "loss":
            middle = self.span * (np.arange(spans) + 0.5)
            return _mean_over_clips(self.loss[..., None], weights) * middle
        summed = np.minimum(_mean_over_clips(self.copied, weights), self.chance)
        return np.asarray(summed.reshape(*summed.shape[:-1], spans, self.span).mean(axis=-1))

    def rank_correlation(
        self, prediction: str, rolled: np.ndarray, others: np.ndarray, *, over_spans: bool = False
    ) -> np.ndarray:
        """Spearman's, `(R,)`, for weights `(R, clips)` of the clips that were rolled out or not.

        Among the schedules, mean over spans; or among all pairs of a schedule and a span.
        """
        left = ~self.forgets
        first = self.predicted(prediction, others)[:, left]
        second = self.measured(rolled)[:, left]
        if over_spans:
            first, second = (x.reshape(len(x), -1, 1) for x in (first, second))
        return spearman(first, second).mean(axis=-1)

    def with_schedules(self, prediction: str, orders: np.ndarray, over_spans: bool) -> np.ndarray:
        """Rank correlations `(R,)` if predictions were of other schedules, `(R, schedules)`."""
        rolled, others = (_all(clips) for clips in self._clips)
        left = ~self.forgets
        first = self.predicted(prediction, others)[0][orders][:, left]
        second = np.broadcast_to(self.measured(rolled)[0][left], first.shape)
        if over_spans:
            first, second = (x.reshape(len(x), -1, 1) for x in (first, second))
        return spearman(first, second).mean(axis=-1)

    def jackknife(self, prediction: str, **options: Any) -> tuple[float, np.ndarray]:
        """The rank correlation, and one value a group of clips whose mean it is.

        Their variance over their number is that of the delete-a-group jackknife.
        """
        value = float(
            self.rank_correlation(prediction, *(_all(x) for x in self._clips), **options)[0]
        )
        without = self.rank_correlation(prediction, *map(_without_groups, self._clips), **options)
        return value, value + (GROUPS - 1.0) * (without.mean() - without)

    @property
    def _clips(self) -> tuple[int, int]:
        return self.error.shape[1], self.copied.shape[1]


def summed_over_copies(error: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Errors `(schedules, clips, frames)` summed along the chain of views of `age` frames ago.

    >>> summed_over_copies(np.ones((1, 1, 5)), np.array([[1, 2, 2, 2, 4]]))[0, 0].tolist()
    [1.0, 1.0, 2.0, 2.0, 2.0]
    """
    out = np.array(error)
    clips = np.arange(age.shape[0])
    for frame in range(age.shape[1]):
        source = frame - age[:, frame]
        generated = (source >= 0) & (source < frame)
        where = clips[generated]
        out[:, where, frame] += out[:, where, source[generated]]
    return out


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation along the second axis of `(R, n, spans)`; 0 where all are tied.

    >>> spearman(np.array([[[1.0], [2.0], [3.0]]]), np.array([[[5.0], [7.0], [6.0]]])).tolist()
    [[0.5]]
    """
    a, b = (rankdata(x, axis=1) for x in (first, second))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), size, out=np.zeros_like(size), where=size > 0.0)


def _mean_over_clips(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`(S, C, n)` weighted by `(R, C)` to `(R, S, n)`."""
    schedules, clips, numbers = values.shape
    flat = values.transpose(1, 0, 2).reshape(clips, -1)
    mean = (weights / weights.sum(axis=1, keepdims=True)) @ flat
    return np.asarray(mean.reshape(-1, schedules, numbers))


def _all(clips: int) -> np.ndarray:
    return np.ones((1, clips))


def _without_groups(clips: int) -> np.ndarray:
    return np.asarray(np.arange(clips) % GROUPS != np.arange(GROUPS)[:, None], dtype=np.float64)


# --- over seeds -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Clustered(Mean):
    """A mean whose p-values and intervals are also those of its cluster bootstrap: the wider.

    The schedules are chosen, not drawn, and one order of them that has nothing to do with another
    agrees with it by chance, for every seed alike. So what is above has to be above what is found
    with the predictions of the schedules interchanged (`permuted`) too.
    """

    replicates: np.ndarray | None = None
    permuted: np.ndarray | None = None

    def _share(self, beyond: np.ndarray) -> np.ndarray:
        return np.asarray((1.0 + beyond.sum()) / (1.0 + beyond.size))

    def p_above(self, threshold: float) -> np.ndarray:
        """One-sided p-value of "the mean is at most `threshold`", the largest of the three.

        That of the permutations is of "the predictions say nothing of the order".
        """
        assert self.replicates is not None and self.permuted is not None
        found = self._share(self.replicates <= threshold)
        by_chance = self._share(self.permuted >= self.value - 1e-12)
        return np.maximum(super().p_above(threshold), np.maximum(found, by_chance))

    def p_below(self, threshold: float) -> np.ndarray:
        """One-sided p-value of "the mean is at least `threshold`", the larger of the two."""
        assert self.replicates is not None
        found = self._share(self.replicates >= threshold)
        return np.maximum(super().p_below(threshold), found)

    def interval(self, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Two-sided: that of Student's t and that of the bootstrap, whichever reaches further.

        Of that the part in [-1, 1], where rank correlations lie.
        """
        assert self.replicates is not None
        tails = [0.5 * (1.0 - confidence), 0.5 * (1.0 + confidence)]
        low, high = np.quantile(self.replicates, tails)
        wide = super().interval(confidence)
        return np.maximum(np.minimum(wide[0], low), -1.0), np.minimum(
            np.maximum(wide[1], high), 1.0
        )


def rank_order(
    networks: Sequence[Network],
    prediction: str,
    *,
    replicates: int = REPLICATES,
    over_spans: bool = False,
) -> Clustered:
    """Mean rank correlation of networks of several seeds, measured on the same clips.

    A replicate draws the seeds and, for all of them, the clips with replacement.
    """
    options: dict[str, Any] = {"over_spans": over_spans}
    single = [network.jackknife(prediction, **options)[1] for network in networks]
    mean = mean_over(np.stack(single))
    generator = np.random.default_rng(7)
    drawn = [
        generator.multinomial(clips, np.full(clips, 1.0 / clips), size=replicates)
        for clips in networks[0]._clips
    ]
    each = np.stack([n.rank_correlation(prediction, *drawn, **options) for n in networks])
    seeds = generator.integers(len(networks), size=(replicates, len(networks)))
    over_seeds = np.take_along_axis(each.T, seeds, axis=1).mean(axis=1)
    known = {name: getattr(mean, name) for name in ("value", "seed_variance", "clip_variance")}
    return Clustered(
        **known,
        seeds=mean.seeds,
        clips=GROUPS,
        trials="groups of clips",
        replicates=over_seeds,
        permuted=_permuted(networks, prediction, replicates, over_spans),
    )


def _permuted(
    networks: Sequence[Network], prediction: str, count: int, over_spans: bool
) -> np.ndarray:
    """The mean rank correlation with the schedules of the predictions interchanged at random.

    In the same way for all networks and spans; a schedule that some network forgets under stays.
    """
    generator = np.random.default_rng(8)
    left = np.flatnonzero(~np.any([network.forgets for network in networks], axis=0))
    orders = np.tile(np.arange(len(networks[0].names)), (count, 1))
    orders[:, left] = generator.permuted(np.tile(left, (count, 1)), axis=1)
    return np.mean(
        [network.with_schedules(prediction, orders, over_spans) for network in networks], axis=0
    )


def networks_of(rows: Rows, world: str) -> dict[int, Network]:
    """Seed → network."""
    found = rows.found.get((world, ROW), {})
    return {seed: Network.of(found[seed]) for seed in sorted(found)}


def seeds_with_rank_order(rows: Rows, world: str) -> list[int]:
    """Training seeds whose network shows one: enough schedules under which it does not forget."""
    return [seed for seed, network in networks_of(rows, world).items() if network.judged]


# --- the study ------------------------------------------------------------------------------------


def compute(config: Config) -> pandas.DataFrame:
    """One row per world, schedule, span and seed, then the rank correlations.

    `quantity`: `error` (measured, with its standard error over clips), `predicted_by_one_pass` and
    `predicted_by_loss` of the span (squared error; nats up to its middle), `one_pass` and `loss` of
    the schedule, `chance` of the span, `rank_correlation` and `rank_correlation_over_spans` by
    `prediction`: of one seed, and without a seed of all that show one. `forgets`: marked.
    """
    rows = read(config["results"])
    out: list[dict[str, Any]] = []
    for world in sorted({world for world, row in rows.found if row == ROW}):
        networks = networks_of(rows, world)
        for seed, network in networks.items():
            out += [{"world": world, "seed": seed, **row} for row in _described(network)]
        for over_spans in (False, True):
            found = correlations(networks, config, over_spans=over_spans)
            out += [{"world": world, **row} for row in found]
    return pandas.DataFrame(out, columns=COLUMNS)


def correlations(
    networks: Mapping[int, Network], config: Config, *, over_spans: bool = False
) -> list[dict[str, Any]]:
    """One row per prediction and network, by its training seed, and without a seed of all.

    Of the networks that show a rank correlation (`Network.judged`).
    """
    judged = {seed: network for seed, network in networks.items() if network.judged}
    groups: list[tuple[int | None, list[Network]]] = [(seed, [one]) for seed, one in judged.items()]
    if len(judged) > 1:
        groups.append((None, list(judged.values())))
    out: list[dict[str, Any]] = []
    for prediction in PREDICTIONS:
        for seed, some in groups:
            mean = rank_order(
                some, prediction, replicates=config["replicates"], over_spans=over_spans
            )
            low, high = mean.interval(config["confidence"])
            out.append(
                {
                    "seed": seed,
                    "quantity": "rank_correlation" + "_over_spans" * over_spans,
                    "prediction": prediction,
                    "value": float(mean.value),
                    "standard_error": float(mean.standard_error),
                    "low": float(low),
                    "high": float(high),
                    "n": len(some),
                    "over": mean.over,
                    "unit": "rank correlation",
                }
            )
    return out


COLUMNS = [
    "world",
    "seed",
    "schedule",
    "quantity",
    "prediction",
    "first_frame",
    "end_frame",
    "value",
    "standard_error",
    "low",
    "high",
    "unit",
    "n",
    "over",
    "forgets",
]


def _described(network: Network) -> list[dict[str, Any]]:
    rolled, others = network._clips
    forgets, spans = network.forgets, network.error.shape[-1]
    chance = network.chance.reshape(spans, network.span).mean(axis=1)
    measured = network.measured(_all(rolled))[0]
    predicted = {name: network.predicted(name, _all(others))[0] for name in PREDICTIONS}
    out: list[dict[str, Any]] = []
    for place, name in enumerate(network.names):
        of = {"schedule": name, "forgets": bool(forgets[place])}
        for quantity, values, unit in (
            ("one_pass", network.one_pass[place], "of the squared peak"),
            ("loss", network.loss[place], "nats per frame"),
        ):
            out.append({**of, "quantity": quantity, "unit": unit, **over_clips(values)})
        for span in range(spans):
            at = {"first_frame": span * network.span, "end_frame": (span + 1) * network.span}
            peak = {**of, **at, "unit": "of the squared peak"}
            error = over_clips(network.error[place, :, span])
            assert np.isclose(error["value"], measured[place, span])
            out += [
                {**peak, "quantity": "error", **error},
                {**peak, "quantity": "chance", "value": chance[span]},
                {
                    **peak,
                    "quantity": "predicted_by_one_pass",
                    "value": predicted["one_pass"][place, span],
                    "n": others,
                },
                {
                    **of,
                    **at,
                    "quantity": "predicted_by_loss",
                    "value": predicted["loss"][place, span],
                    "unit": "nats",
                    "n": others,
                },
            ]
    return out


def over_clips(values: np.ndarray) -> dict[str, Any]:
    """Mean of a number a clip and its standard error.

    >>> over_clips(np.array([1.0, 2.0, 3.0, 4.0]))["standard_error"]
    0.6454972243679028
    """
    error = values.std(ddof=1) / np.sqrt(values.size)
    return {
        "value": float(values.mean()),
        "standard_error": float(error),
        "n": values.size,
        "over": "clips only",
    }


STUDY = Study(
    name="predicted_degradation",
    question="Do errors measured without roll-out foretell under which schedule a roll-out "
    "degrades?",
    revision=1,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: [
        name for name in inputs(config["results"]) if f"-{ROW}-" in name.rpartition("/")[2]
    ],
)
run = STUDY.run


def text_of(table: pandas.DataFrame) -> str:
    """The rank correlations as plain text."""
    shown = table[table["quantity"].str.startswith("rank_correlation", na=False)]
    lines = ["Rank correlation of predicted and measured squared error"]
    if shown.empty:
        return f"{lines[0]}: no network has been measured under enough schedules"
    for row in shown.to_dict("records"):
        who = "all seeds" if np.isnan(row["seed"]) else f"seed {row['seed']:.0f}"
        among = "schedules and spans" if row["quantity"].endswith("spans") else "schedules"
        lines.append(
            f"  {row['world']}, {who}, {row['prediction']}, among {among}: {row['value']:+.2f} "
            f"[{row['low']:+.2f}, {row['high']:+.2f}] 95 % over {row['over']}"
        )
    return "\n".join(lines)


def main() -> None:
    print(text_of(run()))


if __name__ == "__main__":
    main()
