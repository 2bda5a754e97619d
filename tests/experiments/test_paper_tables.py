"""Tables 1 to 3 and the report from a sweep's collected results."""

import re

import numpy as np
import pytest

from experiments import report
from experiments.sweep.plan import SweepError
from experiments.sweep.table import Run
from experiments.tables import blocks, paper_pages, paper_tables
from experiments.tables.printed import NAMES, TABLE_1, TABLE_2, TABLE_3
from mtp.evaluation import references
from mtp.evaluation.measure import Evaluation, measure
from mtp.evaluation.metrics import per_picture
from mtp.evaluation.samples import Criteria
from tests.experiments.test_sweep import Case

K, N = 5, 60


def content_of(seeds=(0, 1, 2)):
    """As `table.build` gives it: sane is far from the truth, mtp_nasnet near."""
    rng = np.random.default_rng(0)
    votes = np.array([rng.multinomial(40, p) for p in rng.dirichlet(np.ones(K) * 2, N)])
    fixed = references.rows(votes, votes.mean(axis=0), seed=0)
    evaluation = Evaluation(
        votes, fixed["mean histogram"], fixed["vote noise"], Criteria(3.0, 0.5, 1e-7),
        [f"g{i // 2}" for i in range(N)], 200, 0,
    )  # fmt: skip

    def run(share, seed):
        noise = np.random.default_rng([seed, round(100 * share)]).dirichlet(np.ones(K), N)
        return Run((1 - share) * votes / 40 + share * noise, np.full(N, 0.7))

    runs = {row: {s: run(share, s) for s in seeds} for row, share in (("sane", 0.6), ("mtp_nasnet", 0.3))} | {
        "two_only": {s: Run(None, np.full(N, 0.7)) for s in seeds}
    }
    rows = [
        {"row": name, "kind": kind, "seeds": count, "deviations": {"emd_r2": 0.001}, "pixels": pixels,
         "metrics": measure(samples, evaluation.groups, 200, 0)}
        for name, kind, count, pixels, samples in (
            ("mean histogram", "reference", None, None, [evaluation.sample(fixed["mean histogram"])]),
            *((name, "row", len(of), 50176.0, [evaluation.sample(r.distribution, p_high=r.p_high)
                                               for r in of.values()]) for name, of in runs.items()),
        )
    ]  # fmt: skip
    about = {
        "pictures": N, "groups": 30, "sha256": ["a" * 64], "demo_code": None, "split": "test", "delta": 0.5,
        "threshold": 3.0, "ratings": K,
    }  # fmt: skip
    return {"file": "x.py", "rows": rows, "runs": runs, "evaluation": evaluation, "about": about}


@pytest.fixture(scope="module")
def content():
    return content_of()


def column(grid, heading):
    header, body = grid
    place = next(i for i, name in enumerate(header) if name.startswith(heading))
    return {line[0].split(" (")[0]: line[place] for line in body}


def test_every_printed_row_has_a_file_and_stands_beside_its_number():
    # the learners' rows are those of experiments.table1
    learners = {"IIS-LDL", "KNN", "LDSVR", "SVDR"}
    assert {*TABLE_1, *TABLE_2, *TABLE_3} - learners == set(NAMES.values())


def test_printed_numbers_stand_beside_their_rows(content):
    first, second, third = (paper_pages.GRIDS[n](content) for n in (1, 2, 3))
    assert column(first, "printed")["mtp_nasnet"] == "0.104 / 0.071 / 0.082 / 0.973 / 0.048"
    assert column(first, "printed")["mean histogram"] == ""
    assert column(second, "printed")["sane"] == "0.9671" and column(second, "printed")["two_only"] == ""
    assert column(third, "printed")["sane"] == ""
    assert column(third, "pixels") == {"mean histogram": "", "sane": "50,176", "mtp_nasnet": "50,176"}


def test_a_row_without_a_distribution_is_in_table_2_alone(content):
    first, second, third = (column(paper_pages.GRIDS[n](content), "row") for n in (1, 2, 3))
    assert "two_only" in second and "two_only" not in first and "two_only" not in third
    of_head = column(paper_tables.table_2(content), "of the head")
    assert of_head["two_only"] == of_head["sane"] != ""
    high = content["evaluation"].sample().truth_high.mean()
    assert of_head["two_only"].startswith(f"{high:.3f}")
    assert column(paper_tables.table_2(content), "accuracy")["majority"].startswith(
        f"{max(high, 1 - high):.3f}"
    )


def test_the_gain_is_the_ratio_of_the_means(content):
    (of_row,) = paper_tables.gains_over(content, "sane").values()
    found = [
        tuple(map(float, each))
        for each in re.findall(r"([+-][\d.]+)% \[([+-][\d.]+)%, ([+-][\d.]+)%\]", of_row)
    ]
    evaluation, runs = content["evaluation"], content["runs"]
    truth = evaluation.votes / 40
    for (value, low, high), name in zip(found, ("ped", "cheb", "pkl", "cos", "emd_r1"), strict=True):
        ours, theirs = (
            np.array(
                [
                    per_picture(truth, r.distribution, evaluation.criteria)[name].mean()
                    for r in runs[row].values()
                ]
            )
            for row in ("mtp_nasnet", "sane")
        )
        expected = ours / theirs - 1 if name == "cos" else 1 - ours / theirs
        assert value == pytest.approx(100 * expected.mean(), abs=0.051)
        assert low < value < high
    single = content_of(seeds=(0,))
    assert len(re.findall("%", paper_tables.gains_over(single, "sane")["mtp_nasnet"])) == 15
    assert paper_tables.gains_over(content, "dcnn") == {}


def test_a_page_in_both_forms_says_the_same():
    cells = [["a|b", "<1>"]]
    parts = [
        blocks.Heading(2, "A & B"), blocks.Text(["one", "two"]), blocks.Table(["x", "y"], cells),
        blocks.Command("python -m x"), blocks.Picture("a.png", b"png", "a picture"),
    ]  # fmt: skip
    text, page = blocks.markdown(parts), blocks.page("t", parts)
    assert "## A & B\n\none  \ntwo\n\n| x | y |" in text and "| a\\|b | <1> |" in text
    assert "`python -m x`" in text and "![a picture](a.png)" in text
    assert (
        "<h2>A &amp; B</h2>" in page
        and "<p>one<br>two</p>" in page
        and "<td>a|b</td><td>&lt;1&gt;</td>" in page
    )
    assert 'src="data:image/png;base64,cG5n"' in page


def test_the_commands_make_pages_of_a_sweeps_folder(tmp_path, capsys):
    case = Case(tmp_path, "seeds=(0, 1, 2), compared_with='warped'")
    with pytest.raises(SystemExit, match=r"must be the folder of a sweep; it has no sweep.json"):
        paper_pages.main([str(case.out)], 3)
    case.main("local")
    capsys.readouterr()
    paper_pages.main([str(case.out)], 3)
    assert (case.out / "table3.md").read_text() == capsys.readouterr().out.removesuffix("\n")
    page = tmp_path / "page"
    report.main([str(case.out), f"--out={page}"])
    text, html = (page / "report.md").read_text(), (page / "report.html").read_text()
    for part in (
        "Table 1",
        "Table 2",
        "Table 3",
        "Differences",
        "Published on AVA",
        "python -m experiments.table3",
    ):
        assert part in text and part in html
    for name, what in (
        ("out.png", "![emd_r2 of every row"),
        ("out_differences.png", "![differences of emd_r2"),
    ):
        assert (page / name).read_bytes().startswith(b"\x89PNG") and what in text
    report.main([str(case.out), f"--out={page}"])
    assert (page / "report.md").read_text() == text and (page / "report.html").read_text() == html


def test_without_a_finished_row_there_is_no_table():
    with pytest.raises(SweepError, match="no seed of any row is finished yet"):
        paper_pages.blocks({"rows": [], "file": "x.py"}, 1)
