"""Are the optimisers torch's own, but for its compiler, which nothing here needs?"""

import subprocess
import sys

import pytest
import torch
from torch import nn

from trainables.recipe import OptimizerSpec
from trainables.training.optim import ADAM_EPSILON, build_optimizer

TORCHS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
WITHOUT = """
import sys, torch
from trainables.recipe import OptimizerSpec
from trainables.training.optim import build_optimizer
network = torch.nn.Linear(3, 2)
optimizer = build_optimizer(OptimizerSpec("adamw", 0.1, (0.9, 0.999), 0.01), [network])
network(torch.ones(4, 3)).square().sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""


def network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(5, 3)


@pytest.mark.parametrize("name", TORCHS)
def test_steps_are_torchs_bit_for_bit_also_after_a_resume(name):
    ours, theirs = network(), network()
    spec = OptimizerSpec(name, 0.01, (0.9, 0.98), 0.1)
    optimizer = build_optimizer(spec, [ours])
    peer = TORCHS[name](theirs.parameters(), lr=0.01, betas=(0.9, 0.98), weight_decay=0.1, eps=ADAM_EPSILON, fused=True)
    generator = torch.Generator().manual_seed(1)
    for step in range(6):
        x = torch.randn(8, 5, generator=generator)
        for model, its in ((ours, optimizer), (theirs, peer)):
            its.zero_grad()
            model(x).square().sum().backward()
            its.step()
        if step == 2:
            resumed = build_optimizer(spec, [ours])
            resumed.load_state_dict(optimizer.state_dict())
            optimizer = resumed
    assert torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)
    assert all(parameter.requires_grad for parameter in ours.parameters()) and torch.is_grad_enabled()


def test_no_process_imports_the_compiler_for_them():
    assert subprocess.run([sys.executable, "-c", WITHOUT]).returncode == 0
