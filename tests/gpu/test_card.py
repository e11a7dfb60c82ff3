"""Does the card that the other tests of this folder use compute at all, by the build of torch that is installed?"""

import pytest
import torch

from trainables.training.devices import device_name, own_device, runs_on

pytestmark = pytest.mark.gpu


def test_the_build_of_torch_has_code_for_this_card(card: torch.device):
    assert runs_on(torch.cuda.get_device_capability(card), torch.cuda.get_arch_list())
    assert own_device() == card and device_name(card).startswith("cuda: ")
    assert torch.arange(5, device=card).sum().item() == 10
