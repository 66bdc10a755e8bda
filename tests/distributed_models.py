"""Models and optimizers of torch.distributed, in a group of one process."""

from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def group_of_one(folder):
    """Within it, this process is a group of its own."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=0, world_size=1
    )
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


def sharded(way):
    """A model whose parameters are sharded one way or another."""
    model = network()
    if way.startswith("FSDP"):
        from torch.distributed.fsdp import FullyShardedDataParallel

        whole = FullyShardedDataParallel(
            model, device_id=torch.device("cpu"), use_orig_params="original" in way
        )
        # What Lightning calls its module lies inside of what is wrapped.
        return model if "inside" in way else whole
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    if way == "fully_shard":
        from torch.distributed.fsdp import fully_shard

        return fully_shard(model, mesh=mesh)
    from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

    return parallelize_module(model, mesh, {"2": ColwiseParallel()})


def overlapping(model):
    """An optimizer that steps while gradients are still on their way."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    return ZeroRedundancyOptimizer(
        model.parameters(), torch.optim.SGD, overlap_with_ddp=True, lr=0.1
    )
