"""What a record of AVA holds, and how an example becomes one."""

import functools
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from mtp.data.ava.files import RATINGS, STYLES


def features() -> tfds.features.FeaturesDict:
    """A record: the picture file's own bytes, and its labels; style is -1 everywhere where there is no label."""
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Scalar(np.int64),
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "votes": tfds.features.Tensor(shape=(RATINGS,), dtype=np.int32),
            "tags": tfds.features.Tensor(shape=(2,), dtype=np.int32),
            "challenge": tfds.features.Scalar(np.int32),
            "style": tfds.features.Tensor(shape=(STYLES,), dtype=np.int32),
            "style_part": tfds.features.ClassLabel(names=["none", "train", "test"]),
        }
    )


@functools.cache
def _serializer() -> tuple[tfds.features.FeaturesDict, ExampleSerializer]:
    made = features()
    return made, ExampleSerializer(made.get_serialized_info())  # pyright: ignore[reportArgumentType]


def serialize(example: dict[str, Any]) -> bytes:
    """An example as a record."""
    made, serializer = _serializer()
    return serializer.serialize_example(made.encode_example(example))
