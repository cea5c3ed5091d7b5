"""Objects that can be copied, but not pickled."""

from __future__ import annotations

import copy
from typing import Any, NoReturn, Self

from xpnet.errors import InputError


class CopiedOnly:
    """What holds compiled functions, which copies share and no pickle can hold.

    Python's own ways of both begin with ``__reduce_ex__``.
    """

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        name = type(self).__name__
        raise InputError(
            f"{name}: expected an object to pickle, got a {name}, which holds compiled functions. Pickle its network, "
            "or its snapshot() and restore that elsewhere."
        )

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = memo[id(self)] = object.__new__(type(self))
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin
