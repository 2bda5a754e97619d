"""The networks by name: what model.name chooses among."""

from collections.abc import Callable, Mapping

from mtp.baselines import dcnn, dma_net, mna_cnn, nima
from mtp.config import Config
from mtp.inference.facts import Facts
from mtp.models import mtp_nasnet
from mtp.models.model import Model

# (config.model, K ratings, S styles) -> the network
MODELS: Mapping[str, Callable[[Config, int, int], Model]] = {
    "mtp_nasnet": mtp_nasnet.build,
    "nima": nima.build,
    "dma_net": dma_net.build,
    "dcnn": dcnn.build,
    "mna_cnn": mna_cnn.build,
}


def build_model(config: Config, facts: Facts) -> Model:
    """The network of a configuration, for the data that it was or is to be trained on."""
    return MODELS[config.model.name](config.model, facts.ratings, len(facts.style_names))
