"""Tables 1–4 of the paper, as published: retrieval and PSNR of its networks on two worlds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arvdm_theory.errors import ParameterError

if TYPE_CHECKING:
    import pandas

__all__ = ["SOURCE", "SPANS", "TABLES", "PublishedTable", "load"]

SOURCE = "Wang et al., arXiv 2503.10704"


@dataclass(frozen=True)
class PublishedTable:
    """One published table: its file, its world, what its spans hold and in which unit."""

    number: int
    file: str
    world: str
    quantity: str
    unit: str


TABLES = {
    table.number: table
    for table in (
        PublishedTable(1, "table1_dmlab_retrieval.csv", "DMLab", "retrieval success", "share"),
        PublishedTable(2, "table2_minecraft_ssim.csv", "Minecraft", "retrieval SSIM", "SSIM"),
        PublishedTable(3, "table3_dmlab_psnr.csv", "DMLab", "PSNR", "dB"),
        PublishedTable(4, "table4_minecraft_psnr.csv", "Minecraft", "PSNR", "dB"),
    )
}
"""Table number → its description."""

SPANS = {
    1: ("span_0_16", "span_16_48", "span_48_112"),
    2: ("span_0_16", "span_16_48", "span_48_112"),
    3: ("span_0_16", "span_16_32", "span_32_48", "span_48_64"),
    4: ("span_0_16", "span_16_32", "span_32_48", "span_48_64"),
}
"""Table number → its columns of values."""


def load(table: int) -> pandas.DataFrame:
    """Published Table 1, 2, 3 or 4, value by value as printed (needs pandas).

    Source: Tables 1–4 of Wang et al., *Error Analyses of Auto-Regressive Video Diffusion Models: A
    Unified Framework*, arXiv 2503.10704. The number of videos and of training runs behind a value
    is not published, so no value here has an interval.

    Columns
    -------
    Tables 1 (DMLab) and 2 (Minecraft), one row per network:
        structure: how the memory enters, `prepend`, `channel_concat` or `cross_attention`.
        memory_length: past frames in the memory. compression: `joint`, `modulated`, or missing for
        none. memory_budget: compressed memory slots kept of `memory_length` (our reading), missing
        without compression. span_a_b: retrieval of content last seen a to b frames ago, as a share
        of successes in 0..1 (Table 1) or as SSIM (Table 2).
    Tables 3 (DMLab) and 4 (Minecraft), one row per memory budget:
        memory_budget: as above; the structure is not in the table. span_a_b: mean PSNR in dB of
        generated frames a to b against the truth.

    Raises `ParameterError` for any other number.

    >>> load(3)["span_0_16"].tolist()
    [10.24, 10.14, 10.46, 10.52]
    """
    import pandas

    if table not in TABLES:
        raise ParameterError("table", f"one of {', '.join(map(str, TABLES))}", table)
    frame = pandas.read_csv(Path(__file__).with_name(TABLES[table].file))
    for column in ("memory_length", "memory_budget"):
        if column in frame:
            frame[column] = frame[column].astype("Int64")
    return frame
