"""The cut into uneven companies: every line once, ids whole, from the most clicked on down."""

from __future__ import annotations

from pathlib import Path

from benchmarks.uneven import SHARES, cut_by_click_rate

FIELDS = 40


def line(number: int) -> str:
    """A line whose id in C4 is one of 13; id ``i`` is clicked on in i of 13 lines."""
    fields = [str(number)] * FIELDS
    fields[0] = str(int(number // 13 % 13 < number % 13))
    fields[17] = f"id{number % 13}"
    return "\t".join(fields)


def test_ids_go_whole_to_companies_by_their_click_rate(tmp_path: Path) -> None:
    lines = [line(number) for number in range(13 * 13)]
    sample = tmp_path / "sample.tsv"
    sample.write_text("".join(f"{one}\n" for one in lines))
    files = cut_by_click_rate(sample, tmp_path, ["a", "b", "c", "d"])
    parts = [file.read_text().splitlines() for file in files]
    assert sorted(one for part in parts for one in part) == sorted(lines)
    for part in parts:
        assert part == [one for one in lines if one in set(part)], "in the order of the sample"
    ids = [{one.split("\t")[17] for one in part} for part in parts]
    assert sum(map(len, ids)) == 13
    rates = [sum(int(one[0]) for one in part) / len(part) for part in parts]
    assert rates == sorted(rates, reverse=True)
    wanted = [share / sum(SHARES) * len(lines) for share in SHARES]
    assert all(abs(len(part) - want) <= 13 for part, want in zip(parts, wanted, strict=True))
