"""Which workdirs can be rows of Table 1."""

import json

import pytest

from configs import votes
from experiments.tables import deep_rows
from mtp.workdirs import UsageError


def test_a_run_without_a_distribution_is_no_row(tmp_path):
    config = votes.get_config()
    config.model.tasks = ("two_category", "style")
    content = {
        "config": json.loads(config.to_json()),
        "seed": 0,
        "split": {"name": "test", "sha256": "c" * 64},
    }
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"must predict distributions.*on two_category, style alone"):
        deep_rows.read_rows([tmp_path], ["a"], "c" * 64)
