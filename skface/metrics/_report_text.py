"""The text of the reports."""

from typing import Any

import numpy as np

from skface._utils.report import table


def format_verification(report: dict[str, Any]) -> str:
    """Lay out the dict of :func:`verification_report`."""
    people = report["n_people"]
    counts = [["pairs" if people is None else f"pairs of {people:,} people", "all", "failed"]]
    for kind in ("genuine", "impostor"):
        counts.append([kind, f"{report[f'n_{kind}']:,}", f"{report[f'n_failed_{kind}']:,}"])
    eer, d_prime = f"{_percent(report['eer'])} %", f"{report['d_prime']:.3f}"
    if people is not None:
        eer += f" {_interval(report['eer_interval'])}"
        d_prime += " [{:.3f}, {:.3f}]".format(*report["d_prime_interval"])
    blocks = [
        table(counts),
        f"equal error rate {eer} at threshold {report['eer_threshold']:.6g}\n"
        f"d'               {d_prime}",
    ]
    if report["operating_points"]:
        blocks.append(
            "All pairs, in %. A failed comparison counts as rejected.\n"
            + _points_table(report, ("far", "frr", "tar"))
        )
        n_failed = report["n_failed_genuine"] + report["n_failed_impostor"]
        blocks.append(
            "Compared pairs only, failures left out, in %.\n"
            + _points_table(report, ("fmr", "fnmr"))
            if n_failed
            else "No comparison failed, so FMR = FAR and FNMR = FRR."
        )
    if report["operating_points"] or people is not None:
        blocks.append("\n".join([*_explain_targets(report), _explain_intervals(report)]))
    return "\n\n".join(blocks)


def format_groups(report: dict[str, Any]) -> str:
    """Lay out the dict of :func:`group_report`."""
    rows = [["", "genuine", "impostor", "failed", "FMR", "FNMR"]]
    kinds = (*report["groups"], *report["between_groups"], report["overall"])
    for kind in kinds:
        name = kind["name"]
        rows.append(
            [
                " | ".join(map(str, name)) if isinstance(name, tuple) else str(name),
                f"{kind['n_genuine']:,}",
                f"{kind['n_impostor']:,}",
                f"{kind['n_failed_genuine'] + kind['n_failed_impostor']:,}",
                _rate(kind, "fmr"),
                _rate(kind, "fnmr"),
            ]
        )
    if report["interval_over"] == "people":
        people = ["people", *(f"{kind['n_people']:,}" for kind in kinds)]
        rows = [[row[0], count, *row[1:]] for row, count in zip(rows, people, strict=True)]
    return "\n\n".join(
        (
            f"Errors at threshold {report['threshold']:.6g}, in % of the compared pairs "
            "(failures left out).\n" + table(rows),
            f"{_explain_differential(report, 'fmr')}\n{_explain_differential(report, 'fnmr')}",
            _explain_intervals(report),
        )
    )


def _points_table(report: dict[str, Any], rates: tuple[str, ...]) -> str:
    """Lay out one row per operating point."""
    rows = [["", "threshold", *(rate.upper() for rate in rates)]]
    for point in report["operating_points"]:
        target = point["far_target"]
        name = "given threshold" if target is None else f"FAR <= {target:g}"
        mark = " *" if _asks_too_much(target, report) else ""
        threshold = f"{point['threshold']:.6g}"
        rows.append([name + mark, threshold, *(_rate(point, rate) for rate in rates)])
    return table(rows)


def _rate(kind: dict[str, Any], rate: str) -> str:
    """Write a rate and its interval."""
    if np.isnan(kind[rate]):
        return "-"
    return f"{_percent(kind[rate])} {_interval(kind[f'{rate}_interval'])}"


def _interval(interval: tuple[float, float]) -> str:
    """Write an interval of a rate."""
    return f"[{_percent(interval[0])}, {_percent(interval[1])}]"


def _percent(rate: float) -> str:
    """Write a rate in percent: two decimals, or two digits if it is small."""
    percent = 100 * rate
    return f"{percent:.2g}" if 0 < percent < 0.1 else f"{percent:.2f}"


def _asks_too_much(target: float | None, report: dict[str, Any]) -> bool:
    """Return whether a FAR is below 1 / (number of impostor pairs)."""
    return target is not None and 0 < target < 1 / report["n_impostor"]


def _explain_targets(report: dict[str, Any]) -> list[str]:
    """Say where the thresholds come from, and which rates the pairs are too few for."""
    targets = [point["far_target"] for point in report["operating_points"]]
    lines = []
    if any(target is not None for target in targets):
        lines.append(
            "The thresholds for a FAR were chosen on these pairs. Expect larger rates on others."
        )
    if any(_asks_too_much(target, report) for target in targets):
        lines.append(
            f"* At least 1 / FAR impostor pairs are needed; there are {report['n_impostor']:,}."
        )
    return lines


def _explain_intervals(report: dict[str, Any]) -> str:
    """Say what the intervals are."""
    percent = f"{100 * report['confidence']:g} %"
    if report["interval_over"] == "people":
        return f"[{percent} intervals over people, never narrower than Clopper-Pearson]"
    return f"[{percent} Clopper-Pearson intervals, too narrow if pairs share people]"


def _explain_differential(report: dict[str, Any], rate: str) -> str:
    """Say by how much the groups differ in a rate."""
    differential, name = report[f"{rate}_differential"], rate.upper()
    if differential["highest"] is None:
        return f"{name}: no group was compared."
    if np.isnan(differential["ratio"]):
        return f"{name}: no group has an error."
    if differential["ratio"] == 1:
        return f"{name}: the groups do not differ."
    ratio = differential["ratio"]
    times = "infinitely many" if np.isinf(ratio) else f"{ratio:.2f}"
    return (
        f"{name}: {differential['highest']} has {times} times that of {differential['lowest']}, "
        f"and {differential['highest_to_overall']:.2f} times that of all pairs."
    )
