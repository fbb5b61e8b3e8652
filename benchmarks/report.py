"""Ratios of what was measured, with their spread over the rounds."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.rounds import OURS, Rounds
from benchmarks.worker import Measurement


@dataclass(frozen=True)
class Ratio:
    """The median, lowest and highest over rounds of one side's figure divided by the other's."""

    median: float
    low: float
    high: float

    @classmethod
    def of(
        cls,
        above: Sequence[Measurement],
        below: Sequence[Measurement],
        figure: Callable[[Measurement], float],
    ) -> "Ratio":
        """Round by round: what ran one after the other is compared."""
        values = [figure(a) / figure(b) for a, b in zip(above, below, strict=True)]
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f}x [{self.low:.2f}, {self.high:.2f}]"


def summarise(rounds: Rounds, peak: float) -> dict[str, dict]:
    """Figures of every peer against rewardgap.

    Args:
        rounds: of one case.
        peak: floating-point operations a second of the machine's matrix product.

    Returns:
        for each peer: `speed` (its seconds over ours), `speed_with_reference` where a side
        computed references before the clock started, `memory` (our peak over its), `memory_growth`
        (the same above what the imports take), the first and last losses or rewards of both and
        their largest difference, and `share_of_peak`, by side, that went into necessary products.
    """
    ours = rounds[OURS]
    return {name: _figures(ours, peers, peak) for name, peers in rounds.items() if name != OURS}


def _figures(ours: Sequence[Measurement], peers: Sequence[Measurement], peak: float) -> dict:
    figures: dict = {
        "seconds": {OURS: [m.seconds for m in ours], "peer": [m.seconds for m in peers]},
        "speed": Ratio.of(peers, ours, lambda m: m.seconds),
    }
    if any(m.reference_seconds for m in ours):
        figures["speed_with_reference"] = Ratio.of(
            peers, ours, lambda m: m.seconds + m.reference_seconds
        )
    if ours[0].values:
        pairs = list(zip(ours[0].values, peers[0].values, strict=True))
        figures["first_values"], figures["last_values"] = pairs[0], pairs[-1]
        figures["largest_difference"] = max(abs(a - b) for a, b in pairs)
    if ours[0].operations:
        figures["memory"] = Ratio.of(ours, peers, lambda m: m.peak_memory)
        figures["memory_growth"] = Ratio.of(ours, peers, lambda m: m.peak_memory - m.memory_before)
        figures["share_of_peak"] = {
            OURS: median(m.operations / m.seconds for m in ours) / peak,
            "peer": ours[0].operations / median(m.seconds for m in peers) / peak,
        }
    return figures


def lines(case: str, dtype: str, summary: dict[str, dict]) -> list[str]:
    """Return what is printed of a case."""
    return [
        line for peer, figures in summary.items() for line in _lines(case, dtype, peer, figures)
    ]


def _lines(case: str, dtype: str, peer: str, figures: dict) -> list[str]:
    seconds = {side: median(values) for side, values in figures["seconds"].items()}
    found = [
        f"{case}, {dtype}, against {peer}",
        f"  time     {seconds[OURS]:.2f} s, peer {seconds['peer']:.2f} s: {figures['speed']}",
    ]
    if "speed_with_reference" in figures:
        found.append(f"  one epoch with its references     {figures['speed_with_reference']}")
    if "memory" in figures:
        found.append(
            f"  memory   {figures['memory']}, above the imports {figures['memory_growth']}"
        )
    if "share_of_peak" in figures:
        ours, theirs = figures["share_of_peak"].values()
        found.append(f"  share of the matrix-product peak  {ours:.0%}, peer {theirs:.0%}")
    if "first_values" in figures:
        first, last = (
            f"{ours:.6f} and {theirs:.6f}"
            for ours, theirs in (figures["first_values"], figures["last_values"])
        )
        difference = f"largest difference {figures['largest_difference']:.1e}"
        found.append(f"  agreement  first {first}, last {last}, {difference}")
    return found


def to_json(rounds: Rounds, summary: dict[str, dict]) -> dict:
    """Everything measured and derived."""
    plain = {
        peer: {
            key: asdict(value) if isinstance(value, Ratio) else value
            for key, value in figures.items()
        }
        for peer, figures in summary.items()
    }
    return {
        "ratios": plain,
        "rounds": {name: [asdict(m) for m in each] for name, each in rounds.items()},
    }
