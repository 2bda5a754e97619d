"""A workdir belongs to one configuration."""

import json

import pytest

from mtp.config import get_config
from mtp.workdirs import UsageError, claim


def test_an_option_younger_than_the_workdir_had_its_default_there(tmp_path):
    claim(get_config(), tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["loss"]["target"]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    claim(get_config(), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(stored))
    changed = get_config()
    changed.loss.target = "mean"
    with pytest.raises(UsageError, match=r"loss\.target: there 'histogram', now 'mean'"):
        claim(changed, tmp_path)
