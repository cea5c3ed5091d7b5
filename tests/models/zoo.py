"""torchvision and timm, whose networks ours are compared with."""

from unittest import mock

import pytest

torch = pytest.importorskip("torch")


def import_torchvision():
    """Also where it was built for another PyTorch: without its own operators, which no network here uses."""
    register = torch.library.register_fake

    def register_others(name, *arguments, **settings):
        if isinstance(name, str) and name.startswith("torchvision::"):
            return lambda function: function
        return register(name, *arguments, **settings)

    with mock.patch.object(torch.library, "register_fake", register_others):
        return pytest.importorskip("torchvision")


def import_timm():
    """It imports torchvision."""
    import_torchvision()
    return pytest.importorskip("timm")
