"""MNA-CNN with its scene-aware aggregation; the scenes are learned without labels of scenes.

Command: python -m mtp.main --config=configs/rows/mna_cnn_scene.py --config.data.dir=FOLDER --workdir=runs/row
"""

from configs.rows.mna_cnn import get_config as mna_cnn


def get_config(preset="ours"):
    c = mna_cnn(preset)
    c.model.combine = "scene"
    return c
