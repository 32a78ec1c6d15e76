"""The decisions as sentences with the figures that they rest on: of a session that has just ended, or of a profile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from auflow.profiles.profile import GROUPS, Figure, Group, Profile

__all__ = ["decisions", "explained"]

_SUBJECTS: dict[Group, str] = {
    "detect": "face detection",
    "clnf": "landmark fit",
    "au": "Action Units",
    "cen": "CE-CLM's experts",
    "tracking": "tracking",
    "together": "all of it together",
    "jobs": "inputs at the same time",
}


def explained(profile: Profile) -> Iterator[str]:
    """A line for each decision, and one for what it was measured on."""
    machine, versions = profile.machine, profile.versions
    where = [machine.cpu, f"{machine.cores} core{'' if machine.cores == 1 else 's'}", *machine.gpus]
    names = ("auflow", "onnxruntime", "numba")
    used = ", ".join(f"{name} {found}" for name in names if (found := getattr(versions, name)))
    yield f"measured {profile.measured} on {', '.join(profile.clips)}; {', '.join(where)}; {used}"
    yield f"a candidate had to stay within {profile.budget}, and to cost less by more than the noise"
    yield from decisions(profile.figures)
    if profile.choices.tracking is None and any(figure.group == "tracking" for figure in profile.figures):
        yield "tracking stays OpenFace's: another one may be chosen only with `auflow tune --allow-coherent`"


def decisions(figures: Sequence[Figure]) -> Iterator[str]:
    """A line for each group that was measured: what is chosen, and why nothing else."""
    for group in GROUPS:
        of_group = [figure for figure in figures if figure.group == group]
        chosen = next((figure for figure in of_group if figure.chosen), None)
        tried = [figure for figure in of_group if figure.verdict not in ("reference", "not usable")]
        reasons = [_reason(figure, chosen) for figure in sorted(tried, key=lambda figure: not figure.chosen)]
        if absent := [figure.candidate for figure in of_group if figure.verdict == "not usable"]:
            reasons.append(f"not usable here: {', '.join(absent)}")
        if chosen is not None:
            yield f"{_SUBJECTS[group]}: {chosen.candidate}: {'; '.join(reasons) or 'there is nothing else here'}"
        elif reasons:
            yield f"{_SUBJECTS[group]}: {'; '.join(reasons)}"


def _reason(figure: Figure, chosen: Figure | None) -> str:
    name = "it" if figure.chosen else figure.candidate
    if figure.verdict == "failed":
        return f"{name} has failed ({figure.why})"
    took = f"{name} took {_times(figure)}"
    if figure.verdict == "slower":
        return took + (f" {figure.why}" if figure.why else "")
    if figure.verdict == "budget missed":
        return f"{name} misses the budget ({figure.why})"
    if figure.verdict == "within the noise":
        return f"{took}, which is within the noise of {figure.noise or 0:.0%}"
    if figure.verdict == "not asked for":
        return f"{took}, but numbers differ ({_apart(figure)}): only with --allow-coherent"
    if figure.chosen:
        return f"{took}{_budget(figure)}"
    if figure.why:  # given up after all
        return f"{took}, but {figure.why}"
    return f"{took}, which is no reason to prefer it to {chosen.candidate if chosen is not None else 'the others'}"


def _times(figure: Figure) -> str:
    """How much of what, against the reference: "4.1 times the CPU time (12.3 ms)"."""
    what = "the CPU time" if figure.measure.startswith("CPU") else "the time"
    shown = f" ({figure.cost_ms:.3g} {figure.measure})" if figure.cost_ms is not None else ""
    if figure.ratio is None:
        return f"an unknown share of {what}{shown}"
    share = f"{figure.ratio:.3g} times" if figure.ratio >= 2 else f"{figure.ratio:.1%} of"
    return f"{share} {what}{shown}"


def _apart(figure: Figure) -> str:
    found = []
    if figure.landmarks_px is not None:
        found.append(f"landmarks by {figure.landmarks_px:.3g} px")
    if figure.au_mean_r is not None:
        found.append(f"AU intensities correlate with {figure.au_mean_r:.4f}")
    return ", ".join(found) or "nothing to compare"


def _budget(figure: Figure) -> str:
    return "" if figure.landmarks_px is None and figure.au_mean_r is None else f", within the budget ({_apart(figure)})"
