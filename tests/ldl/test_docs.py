"""The documented example runs as printed, and learns."""

import re
import warnings
from pathlib import Path

from mtp.ldl.params import ConvergenceWarning

PAGE = Path(__file__).parents[2] / "docs" / "ldl.md"


def test_the_example(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        names: dict = {}
        exec(compile(code, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert "CONVERGENCE" in printed and (tmp_path / "stars.npz").exists()
    assert names["error"] < 0.7 * names["constant"]
    assert set(names["others"]) == {"iis_lld", "bfgs_lld", "aa_knn", "ldsvr", "svdr_like"}
