"""A net is tried out before it trains."""

from typing import Any

from skorch import NeuralNet
from skorch.dataset import unpack_data
from torch import nn
from torch.nn.parameter import is_lazy

from sklc.lstep.net.intake import cannot_be_evaluated
from sklc.lstep.net.measure import Measure
from sklc.lstep.net.optimizers import parameter_groups
from sklc.lstep.net.state import state_of
from sklc.lstep.net.targets import check_targets
from sklc.lstep.net.unlabelled import has_targets


def tried_out(net: NeuralNet, module: nn.Module, measure: Measure, train: Any) -> bool:
    """Evaluate a net once, and raise what would fail after its training.

    Parameters
    ----------
    net : NeuralNet
    module : Module
        Of the net, as it was before it was compiled.
    measure : Measure
    train : Dataset
        What the net trains on.

    Returns
    -------
    bool
        Whether there are targets.
    """
    batch = measure.first()
    labelled = has_targets(train) and getattr(measure.batches, "labelled", True)
    lazy = any(is_lazy(p) for p in module.parameters())
    try:
        output = measure.output(batch)
    except RuntimeError as error:
        raise cannot_be_evaluated(error) from error
    if labelled:
        check_targets(net, unpack_data(batch)[1], output)
    groups = parameter_groups(net)
    if lazy or any(is_lazy(p) for group in groups for p in group["params"]):
        net.initialize_optimizer()  # of layers that know their shapes
    state_of(net)
    return labelled
