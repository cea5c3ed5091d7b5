"""Names and keys of the layers in a container."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from xpnet.backend import Array
from xpnet.errors import InputError, short
from xpnet.layers.base import Layer
from xpnet.random import fold_in


def own_key(layer: Layer, key: Array | None, position: int) -> Array | None:
    """A key for the layer alone, if it draws random numbers."""
    return fold_in(key, position) if key is not None and layer.is_random else None


def named(where: str, layers: Iterable[Layer | tuple[str, Layer]]) -> tuple[tuple[str, Layer], ...]:
    """Layers with names: their own, or one by kind and count."""
    if not isinstance(layers, Iterable):
        raise InputError(f"{where}: expected a list of layers, got {type(layers).__name__}. Pass a list.")
    pairs: list[tuple[str, Layer]] = []
    counts: Counter[str] = Counter()
    for item in layers:
        if isinstance(item, Layer):
            counts[item.prefix] += 1
            item = (f"{item.prefix}{counts[item.prefix]}", item)
        match item:
            case (str(name), Layer() as layer):
                pairs.append((name, layer))
            case _:
                raise InputError(
                    f"{where}: expected layers or (name, layer) pairs, got {short(item)}. Pass layers such as ReLU()."
                )
    names = [name for name, _ in pairs]
    if not pairs:
        raise InputError(f"{where}: expected at least one layer, got none. Add a layer.")
    for name, count in Counter(names).items():
        if not name or "." in name or count > 1 or not name.isprintable():
            raise InputError(
                f"{where}: expected distinct, printable names without dots, got {name!r} ({count} times). "
                "Give each layer a unique name."
            )
    return tuple(pairs)
