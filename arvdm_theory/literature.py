"""BibTeX of what was used: the paper, this package, and the literature behind each label.

The labels are those of the theory (D1–D3, L1–L3, A, B, C, 2.1, 2.2, M1–M7, R1–R6, E1–E5, T1–T4) and
stand in every result's `theorems`. What is proved in this package from scratch needs no further
reference, and has none: the paper asked the question, the package answers it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from arvdm_theory.enclosure import Enclosure
from arvdm_theory.errors import ParameterError

__all__ = ["LABELS", "LITERATURE", "METHODS", "SAMPLERS", "citation"]


def _arxiv(title: str, author: str, year: int, eprint: str) -> tuple[str, dict[str, str]]:
    fields = {"title": title, "author": author, "year": str(year), "eprint": eprint}
    return "misc", {**fields, "archivePrefix": "arXiv"}


def _article(title: str, author: str, year: int, **fields: str) -> tuple[str, dict[str, str]]:
    return "article", {"title": title, "author": author, "year": str(year), **fields}


_ENTRIES: dict[str, tuple[str, dict[str, str]]] = {
    "wang2025error": _arxiv(
        "Error Analyses of Auto-Regressive Video Diffusion Models: A Unified Framework",
        "Jing Wang and Fengzhuo Zhang and Xiaoli Li and Vincent Y. F. Tan and Tianyu Pang and "
        "Chao Du and Aixin Sun and Zhuoran Yang",
        2025,
        "2503.10704",
    ),
    "arvdm_theory": (
        "software",
        {
            "title": "{arvdm-theory}: exact error theory of auto-regressive video diffusion models",
            "author": "{The arvdm-theory authors}",
            "license": "MIT",
        },
    ),
    # schedules (D3)
    "kim2024fifo": _arxiv(
        "{FIFO-Diffusion}: Generating Infinite Videos from Text without Training",
        "Jihwan Kim and Junoh Kang and Jinyoung Choi and Bohyung Han",
        2024,
        "2405.11473",
    ),
    "ruhe2024rolling": _arxiv(
        "Rolling Diffusion Models",
        "David Ruhe and Jonathan Heek and Tim Salimans and Emiel Hoogeboom",
        2024,
        "2402.09470",
    ),
    "chen2024diffusion": _arxiv(
        "Diffusion Forcing: Next-token Prediction Meets Full-Sequence Diffusion",
        "Boyuan Chen and Diego {Marti Monso} and Yilun Du and Max Simchowitz and Russ Tedrake and "
        "Vincent Sitzmann",
        2024,
        "2407.01392",
    ),
    "henschel2024streaming": _arxiv(
        "{StreamingT2V}: Consistent, Dynamic, and Extendable Long Video Generation from Text",
        "Roberto Henschel and others",
        2024,
        "2403.14773",
    ),
    "harvey2022flexible": _arxiv(
        "Flexible Diffusion Modeling of Long Videos",
        "William Harvey and Saeid Naderiparizi and Vaden Masrani and Christian Weilbach and "
        "Frank Wood",
        2022,
        "2205.11495",
    ),
    "valevski2024diffusion": _arxiv(
        "Diffusion Models Are Real-Time Game Engines",
        "Dani Valevski and Yaniv Leviathan and Moab Arar and Shlomi Fruchter",
        2024,
        "2408.14837",
    ),
    "alonso2024diffusion": _arxiv(
        "Diffusion for World Modeling: Visual Details Matter in {Atari}",
        "Eloi Alonso and Adam Jelley and Vincent Micheli and Anssi Kanervisto and Amos Storkey and "
        "Tim Pearce and Fran{\\c{c}}ois Fleuret",
        2024,
        "2405.12399",
    ),
    "yin2024slow": _arxiv(
        "From Slow Bidirectional to Fast Autoregressive Video Diffusion Models",
        "Tianwei Yin and Qiang Zhang and Richard Zhang and William T. Freeman and Fredo Durand and "
        "Eli Shechtman and Xun Huang",
        2024,
        "2412.07772",
    ),
    "huang2025self": _arxiv(
        "Self Forcing: Bridging the Train-Test Gap in Autoregressive Video Diffusion",
        "Xun Huang and Zhengqi Li and Guande He and Mingyuan Zhou and Eli Shechtman",
        2025,
        "2506.08009",
    ),
    "xie2024progressive": _arxiv(
        "Progressive Autoregressive Video Diffusion Models",
        "Desai Xie and Zhan Xu and Yicong Hong and Hao Tan and Difan Liu and Feng Liu and "
        "Arie Kaufman and Yang Zhou",
        2024,
        "2410.08151",
    ),
    "sandai2025magi": _arxiv(
        "{MAGI-1}: Autoregressive Video Generation at Scale",
        "{Sand.ai} and Hansi Teng and others",
        2025,
        "2505.13211",
    ),
    "liu2025rolling": _arxiv(
        "Rolling Forcing: Autoregressive Long Video Diffusion in Real Time",
        "Kunhao Liu and Wenbo Hu and Jiale Xu and Ying Shan and Shijian Lu",
        2025,
        "2509.25161",
    ),
    # diffusion and its samplers
    "ho2020denoising": _arxiv(
        "Denoising Diffusion Probabilistic Models",
        "Jonathan Ho and Ajay Jain and Pieter Abbeel",
        2020,
        "2006.11239",
    ),
    "song2020denoising": _arxiv(
        "Denoising Diffusion Implicit Models",
        "Jiaming Song and Chenlin Meng and Stefano Ermon",
        2020,
        "2010.02502",
    ),
    "song2020score": _arxiv(
        "Score-Based Generative Modeling through Stochastic Differential Equations",
        "Yang Song and Jascha Sohl-Dickstein and Diederik P. Kingma and Abhishek Kumar and "
        "Stefano Ermon and Ben Poole",
        2020,
        "2011.13456",
    ),
    "bao2022analytic": _arxiv(
        "{Analytic-DPM}: an Analytic Estimate of the Optimal Reverse Variance in Diffusion "
        "Probabilistic Models",
        "Fan Bao and Chongxuan Li and Jun Zhu and Bo Zhang",
        2022,
        "2201.06503",
    ),
    "zhang2022fast": _arxiv(
        "Fast Sampling of Diffusion Models with Exponential Integrator",
        "Qinsheng Zhang and Yongxin Chen",
        2022,
        "2204.13902",
    ),
    "vincent2011connection": _article(
        "A Connection Between Score Matching and Denoising Autoencoders",
        "Pascal Vincent",
        2011,
        journal="Neural Computation",
        volume="23",
        number="7",
        pages="1661--1674",
    ),
    # information
    "guo2005mutual": _article(
        "Mutual Information and Minimum Mean-Square Error in {Gaussian} Channels",
        "Dongning Guo and Shlomo Shamai and Sergio Verd{\\'u}",
        2005,
        journal="IEEE Transactions on Information Theory",
        volume="51",
        number="4",
        pages="1261--1282",
    ),
    "cover2006elements": (
        "book",
        {
            "title": "Elements of Information Theory",
            "author": "Thomas M. Cover and Joy A. Thomas",
            "year": "2006",
            "publisher": "Wiley",
            "edition": "2nd",
        },
    ),
    "fano1961transmission": (
        "book",
        {
            "title": "Transmission of Information: A Statistical Theory of Communications",
            "author": "Robert M. Fano",
            "year": "1961",
            "publisher": "MIT Press",
        },
    ),
    "clopper1934use": _article(
        "The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial",
        "C. J. Clopper and E. S. Pearson",
        1934,
        journal="Biometrika",
        volume="26",
        number="4",
        pages="404--413",
    ),
    "donsker1983asymptotic": _article(
        "Asymptotic Evaluation of Certain {Markov} Process Expectations for Large Time. {IV}",
        "M. D. Donsker and S. R. S. Varadhan",
        1983,
        journal="Communications on Pure and Applied Mathematics",
        volume="36",
        number="2",
        pages="183--212",
    ),
    "altschuler2024shifted": _arxiv(
        "Shifted Composition {III}: Local Error Framework for {KL} Divergence",
        "Jason M. Altschuler and Sinho Chewi",
        2024,
        "2412.17997",
    ),
    # memory
    "hotelling1936relations": _article(
        "Relations Between Two Sets of Variates",
        "Harold Hotelling",
        1936,
        journal="Biometrika",
        volume="28",
        number="3/4",
        pages="321--377",
    ),
    "chechik2005information": _article(
        "Information Bottleneck for {Gaussian} Variables",
        "Gal Chechik and Amir Globerson and Naftali Tishby and Yair Weiss",
        2005,
        journal="Journal of Machine Learning Research",
        volume="6",
        pages="165--188",
    ),
    "globerson2004optimality": (
        "techreport",
        {
            "title": "On the Optimality of the {Gaussian} Information Bottleneck Curve",
            "author": "Amir Globerson and Naftali Tishby",
            "year": "2004",
            "institution": "The Hebrew University of Jerusalem",
        },
    ),
    "cuff2013distributed": _article(
        "Distributed Channel Synthesis",
        "Paul Cuff",
        2013,
        journal="IEEE Transactions on Information Theory",
        volume="59",
        number="11",
        pages="7071--7096",
    ),
    "durbin1960fitting": _article(
        "The Fitting of Time-Series Models",
        "J. Durbin",
        1960,
        journal="Revue de l'Institut International de Statistique",
        volume="28",
        number="3",
        pages="233--244",
    ),
    "hosking1981fractional": _article(
        "Fractional Differencing",
        "J. R. M. Hosking",
        1981,
        journal="Biometrika",
        volume="68",
        number="1",
        pages="165--176",
    ),
    "kolmogorov1941interpolation": _article(
        'Interpolation und Extrapolation von station{\\"a}ren zuf{\\"a}lligen Folgen',
        "A. N. Kolmogorov",
        1941,
        journal="Bulletin de l'Acad{\\'e}mie des Sciences de l'URSS, S{\\'e}rie Math{\\'e}matique",
        volume="5",
        pages="3--14",
    ),
    "kalman1960new": _article(
        "A New Approach to Linear Filtering and Prediction Problems",
        "R. E. Kalman",
        1960,
        journal="Journal of Basic Engineering",
        volume="82",
        number="1",
        pages="35--45",
    ),
    "akaike1975markovian": _article(
        "Markovian Representation of Stochastic Processes by Canonical Variables",
        "Hirotugu Akaike",
        1975,
        journal="SIAM Journal on Control",
        volume="13",
        number="1",
        pages="162--173",
    ),
    "tanaka2014semidefinite": _arxiv(
        "Semidefinite Programming Approach to {Gaussian} Sequential Rate-Distortion Trade-offs",
        "Takashi Tanaka and Kwang-Ki K. Kim and Pablo A. Parrilo and Sanjoy K. Mitter",
        2014,
        "1411.7632",
    ),
    "stavrou2017zero": _arxiv(
        "Zero-Delay Rate Distortion via Filtering for Vector-Valued {Gaussian} Sources",
        "Photios A. Stavrou and Jan {\\O}stergaard and Charalambos D. Charalambous",
        2017,
        "1711.09853",
    ),
    # measuring, proving
    "wang2004image": _article(
        "Image Quality Assessment: From Error Visibility to Structural Similarity",
        "Zhou Wang and Alan C. Bovik and Hamid R. Sheikh and Eero P. Simoncelli",
        2004,
        journal="IEEE Transactions on Image Processing",
        volume="13",
        number="4",
        pages="600--612",
    ),
    "yeung1997framework": _article(
        "A Framework for Linear Information Inequalities",
        "Raymond W. Yeung",
        1997,
        journal="IEEE Transactions on Information Theory",
        volume="43",
        number="6",
        pages="1924--1934",
    ),
    "johansson2017arb": _article(
        "Arb: Efficient Arbitrary-Precision Midpoint-Radius Interval Arithmetic",
        "Fredrik Johansson",
        2017,
        journal="IEEE Transactions on Computers",
        volume="66",
        number="8",
        pages="1281--1292",
    ),
}

LITERATURE: Mapping[str, tuple[str, dict[str, str]]] = MappingProxyType(_ENTRIES)
"""Every reference: BibTeX key to (type, fields)."""

METHODS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "fifo": ("kim2024fifo",),
        "rolling": ("ruhe2024rolling",),
        "outpainting": ("henschel2024streaming", "harvey2022flexible"),
        "chunk": ("yin2024slow", "huang2025self"),
        "next_frame": ("valevski2024diffusion", "alonso2024diffusion"),
        "staircase": ("xie2024progressive", "sandai2025magi", "liu2025rolling"),
        "diffusion_forcing": ("chen2024diffusion",),
        "custom": (),
    }
)
"""What generates with each named schedule (D3)."""

SAMPLERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ancestral": ("ho2020denoising",),
        "optimal_variance": ("bao2022analytic",),
        "optimal_variance_diagonal": ("bao2022analytic",),
        "exponential_integrator": ("zhang2022fast",),
        "euler_maruyama": ("song2020score",),
        "ddim": ("song2020denoising",),
    }
)
"""Where each sampler comes from (2.2)."""

LABELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "D1": (),
        "D2": (),
        "D3": tuple(dict.fromkeys(key for keys in METHODS.values() for key in keys)),
        "L1": ("cover2006elements",),
        "L2": (),
        "L3": ("guo2005mutual",),
        "A": ("ho2020denoising", "guo2005mutual"),
        "Corollary A": ("cover2006elements",),
        "B": (),
        "C": ("vincent2011connection", "guo2005mutual"),
        "2.1": (),
        "2.2": tuple(dict.fromkeys(key for keys in SAMPLERS.values() for key in keys)),
        "M1": ("cover2006elements",),
        "M2": (),
        "M3": (),
        "M4": (),
        "M5": ("fano1961transmission", "clopper1934use", "cover2006elements"),
        "M6": (),
        "M7": (),
        "R1": ("hotelling1936relations",),
        "R2": ("chechik2005information", "globerson2004optimality"),
        "R3": ("chechik2005information", "globerson2004optimality"),
        "R4": ("cuff2013distributed",),
        "R5": ("durbin1960fitting", "hosking1981fractional", "kolmogorov1941interpolation"),
        "R6": (
            "hotelling1936relations",
            "kalman1960new",
            "akaike1975markovian",
            "tanaka2014semidefinite",
            "stavrou2017zero",
        ),
        "E1": ("cover2006elements",),
        "E2": (),
        "E3": ("altschuler2024shifted",),
        "E4": ("donsker1983asymptotic",),
        "E5": (),
        "T1": ("vincent2011connection",),
        "T2": ("guo2005mutual",),
        "T3": ("clopper1934use", "wang2004image"),
        "T4": (),
    }
)
"""Literature behind each label, beside the paper and this package."""

_CASE = r"\s*\(.*\)"
_TERMS = ("IE", "NIE", "SEE", "DE", "MB")


def citation(*used: Any) -> str:
    """BibTeX of what was used: always the paper and this package, then the literature behind it.

    Arguments
    ---------
    used: results of any calculator (whatever has `theorems` or `theorem`; its schedule's method and
        its sampler are cited too, and ball arithmetic if it is certified), or labels, as text:
        "R2", "Theorem A", "T1, Theorem C". Nothing: the paper and the package alone.

    Returns the entries, parted by empty lines, each once, in the order of use.

    Raises `ParameterError` for text that is no label (with the nearest one) and for a value that
    names no theorem.

    Source: THEORY, for what each label rests on.

    >>> import re
    >>> re.findall(r"@[a-z]+{(.*),", citation("R2"))
    ['wang2025error', 'arvdm_theory', 'chechik2005information', 'globerson2004optimality']
    >>> print(citation("R7"))
    Traceback (most recent call last):
    ...
    arvdm_theory.errors.ParameterError: label must be one of the theory (did you mean ...
    """
    keys = ["wang2025error", "arvdm_theory"]
    for item in used:
        keys += _keys(item)
    return "\n\n".join(_entry(key) for key in dict.fromkeys(keys)) + "\n"


def _keys(item: Any) -> Iterator[str]:
    for label in _labels_of(item):
        yield from LABELS[label]
    if isinstance(item, str):
        return
    yield from METHODS.get(getattr(getattr(item, "schedule", None), "method", ""), ())
    yield from SAMPLERS.get(getattr(getattr(item, "generator", None), "sampler", ""), ())
    if getattr(item, "certified", False) or isinstance(getattr(item, "chain", None), Enclosure):
        yield "johansson2017arb"
    if hasattr(item, "certificates"):
        yield "yeung1997framework"


def _labels_of(item: Any) -> list[str]:
    """Labels of a result, or in a text."""
    if isinstance(item, str):
        return [_label(part) for part in item.split(",")]
    for name in ("theorems", "theorem"):
        found: Any = getattr(item, name, None)
        if isinstance(found, str):
            return _labels_of(found)
        if isinstance(found, Iterable):
            return [label for text in found for label in _labels_of(str(text))]
    if hasattr(item, "loss_per_frame"):  # a comparison of schedules
        return ["C"]
    if isinstance(getattr(item, "chain", None), Enclosure):  # a certified decomposition
        return _labels_of(item.chain)
    if hasattr(item, "certificates"):  # a proof, of a named statement or of a claim of one's own
        label = re.sub(_CASE, "", item.statement.label)
        return [label] if label in LABELS else []
    raise ParameterError("used", "results that name their theorems, or labels", repr(item))


def _label(text: str) -> str:
    """The label that `text` means: without "Theorem", without a case in brackets."""
    name = re.sub(_CASE, "", text).strip().removeprefix("Theorem ")
    if name in _TERMS:
        return "A"
    if name not in LABELS:
        near = difflib.get_close_matches(name, LABELS, n=1, cutoff=0.0)
        raise ParameterError("label", f"one of the theory (did you mean {near[0]}?)", text.strip())
    return name


def _entry(key: str) -> str:
    kind, fields = LITERATURE[key]
    if key == "arvdm_theory":
        from arvdm_theory import __version__

        fields = {**fields, "version": __version__}
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}\n}}"
