"""What every layer is: settings in a frozen dataclass, and pure functions of arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, NamedTuple

import numpy as np
from array_api_compat import device

from xpnet.backend import Array, array_namespace, check_array, has_kind, same_location
from xpnet.errors import InputError, short
from xpnet.initializers import Initializer
from xpnet.layers.errors import home, inside
from xpnet.layers.shape_checks import ShapeChecks
from xpnet.settings import with_plain_settings
from xpnet.shapes import Shape

# Trees of arrays, keyed by layer and then by tensor name.
Params = Mapping[str, Any]
State = Mapping[str, Any]
Cache = Any  # such a tree; None outside of training


class Variables(NamedTuple):
    """What a layer starts from: host arrays, and the shape of its output without the batch."""

    params: Params
    state: State
    output_shape: Shape


class Forward(NamedTuple):
    """Output, what backward needs (None unless training), and the layer's new state."""

    y: Array
    cache: Cache
    state: State


class Backward(NamedTuple):
    """Gradient with respect to the input (None if not asked for) and to each parameter, shaped as these are."""

    dx: Array | None
    grads: Params


class Part(NamedTuple):
    """A layer of a network: its dotted name, and the shape of its input without the batch."""

    name: str
    layer: Layer
    input_shape: Shape


# In the cache that a checked forward gives, for the checks of backward; a name with a dot is nobody else's.
_Y_SHAPE = "y.shape"


def _checked_forward(forward: Callable[..., Forward]) -> Callable[..., Forward]:
    @wraps(forward)
    def checked(
        self: Layer, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        check_array(type(self).__name__, x)
        self.check_input(params, state, tuple(x.shape), x, train=train, key=key)
        y, cache, state = forward(self, params, state, x, train=train, key=key)
        return Forward(y, cache if cache is None else {**cache, _Y_SHAPE: shape_holder(y[None, ...])}, state)

    return checked


def _checked_backward(backward: Callable[..., Backward]) -> Callable[..., Backward]:
    @wraps(backward)
    def checked(self: Layer, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        self.check_gradient(params, self.require_cache(cache), dy)
        return backward(self, params, cache, dy, need_dx=need_dx)

    return checked


@dataclass(frozen=True)
class Layer(ShapeChecks):
    """Base of all layers: frozen settings, and functions without side effects.

    A subclass defines ``output_shape``, ``forward`` and ``backward``, and ``init`` if it has parameters or state. The
    layer object holds no arrays: parameters, state and cache come in and go out, so the functions can be jitted,
    captured and compared.

    What a subclass writes as ``forward`` and ``backward`` is mathematics only. Called from outside, they first check
    what they are given (``check_input``, ``check_gradient``). A container checks once for all layers in it and then
    calls ``unchecked_forward`` and ``unchecked_backward``: the same functions without the checks.
    """

    prefix: ClassVar[str] = "layer"  # of the names that a container gives: conv1, conv2, ...
    in_float32: ClassVar[bool] = False  # also where the network computes in 16 bits, for which its sums are too fine
    _kinds: ClassVar[dict[str, type[Layer]]] = {}

    def __init_subclass__(cls) -> None:
        known = Layer._kinds.get(cls.__name__)
        if known and known.__module__.startswith("xpnet.") and cls.__module__ != known.__module__:
            raise InputError(
                f"Layer: expected a name that xpnet does not use, got {cls.__name__}. Choose another: files of weights "
                "name layers by their class."
            )
        Layer._kinds[cls.__name__] = cls
        if "__post_init__" in vars(cls):
            cls.__post_init__ = with_plain_settings(cls.__post_init__)
        for name, checked in (("forward", _checked_forward), ("backward", _checked_backward)):
            if name in vars(cls):
                unchecked = vars(cls)[name]
                setattr(cls, f"unchecked_{name}", unchecked)
                setattr(cls, name, checked(unchecked))

    @with_plain_settings
    def __post_init__(self) -> None:
        """Settings are checked here, once numbers of NumPy and lists of integers have become Python's and tuples."""

    @staticmethod
    def kinds() -> Mapping[str, type[Layer]]:
        """Every layer class by its name, also those defined outside xpnet."""
        return Layer._kinds

    @property
    def is_random(self) -> bool:
        """Whether the layer, or one inside it, draws random numbers while training, and so needs a key."""
        return False

    @property
    def index_count(self) -> int | None:
        """For a layer that takes indices, how many there are; None for a layer of real numbers."""
        return None

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the output for an input shape, both without the batch; InputError if the input does not fit."""
        raise NotImplementedError

    def multiplications(self, input_shape: Shape) -> int:
        """Those of matrix products and convolutions in one example's forward pass.

        In training each gradient takes as many again.
        """
        return sum(layer.multiplications(shape) for _, layer, shape in self.sublayers(input_shape))

    def draw(self, weight_init: Initializer, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        """An initial weight, or InputError if ``weight_init`` is not an initializer."""
        if not callable(weight_init):
            raise self.error(
                f"expected weight_init to be an initializer, got {short(weight_init)}. "
                "Pass one of xpnet.initializers, such as he_normal."
            )
        return weight_init(rng, shape)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        """Draw initial parameters and state as float64 NumPy arrays."""
        return Variables({}, {}, self.output_shape(input_shape))

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        """Compute the output for a batch ``x``; ``key`` seeds the layers that draw random numbers while training."""
        raise NotImplementedError

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        """Carry dy = dL/dy back to the input and the parameters, given the cache of a forward pass with train=True."""
        raise NotImplementedError

    def unchecked_forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        """``forward`` for a caller that has called ``check_input``."""
        raise NotImplementedError

    def unchecked_backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        """``backward`` for a caller that has made both cache and dy."""
        raise NotImplementedError

    def sublayers(self, input_shape: Shape) -> Iterator[tuple[str, Layer, Shape]]:
        """The layers inside this one, each with its name and its own input shape."""
        return iter(())

    def leaves(self, input_shape: Shape) -> Iterator[Part]:
        """The layers that hold no others, in order and by dotted name: this one if it holds none."""
        return (part for part in self.parts(input_shape) if not any(part.layer.sublayers(part.input_shape)))

    def parts(self, input_shape: Shape, name: str = "") -> Iterator[Part]:
        """Every layer inside this one by dotted name, and at last itself: the order in which they are computed."""
        for inner, layer, shape in self.sublayers(input_shape):
            yield from layer.parts(shape, f"{name}.{inner}" if name else inner)
        yield Part(name, self, input_shape)

    def trace(self, params: Params, state: State, x: Array) -> Iterator[tuple[str, Array]]:
        """Outputs of the layers inside this one, by dotted name, and at last its own under the name ""."""
        yield "", self.forward(params, state, x).y

    def require_cache(self, cache: Cache) -> Cache:
        """The cache, or an error that says why there is none."""
        if cache is None:
            raise self.error(
                "backward needs the cache of forward(..., train=True), got None. Run forward with train=True."
            )
        return cache

    def check_input(
        self, params: Params, state: State, shape: Shape, like: Array, *, train: bool = False, key: Array | None = None
    ) -> None:
        """Raise InputError unless this layer and those inside it can compute with a batch.

        The batch has the given ``shape`` and the library, dtype and device of ``like``. A layer whose input is not of
        its parameters' dtype overrides this.
        """
        if not shape or shape[0] == 0:
            raise self.error(f"expected a batch of at least one example, got shape {shape}. Leave it out.")
        self.output_shape(shape[1:])
        is_leaf = True
        for name, layer, input_shape in self.sublayers(shape[1:]):
            is_leaf = False
            with inside(name):
                layer.check_input(params[name], state[name], (shape[0], *input_shape), like, train=train, key=key)
        if is_leaf:
            self._check_own_input(params, state, shape, like)
            if self.is_random and (train or key is not None):
                self.check_key(key, like)

    def _check_own_input(self, params: Params, state: State, shape: Shape, like: Array) -> None:
        expected = self.input_features(params, state)
        if expected not in (None, shape[-1]):
            what = "features" if len(shape) == 2 else "channels"
            raise self.error(f"expected {expected} {what}, got {shape[-1]}. Use the input shape it was built for.")
        own = next(iter([*params.values(), *state.values()]), None)
        if own is not None:
            self.check_like(like, own)
        elif not has_kind(like, "real floating"):
            raise self.error(f"expected floating-point numbers, got {like.dtype}. Convert them to float32.")

    def input_features(self, params: Params, state: State) -> int | None:
        """Length that the input's last axis had at ``init``; None where any will do."""
        return None

    def check_gradient(self, params: Params, cache: Cache, dy: Array, path: str = "") -> None:
        """Raise InputError unless dy = dL/dy is like the y that ``forward`` gave, and like the parameters."""
        y = cache.get(_Y_SHAPE)
        if y is not None:
            shape = tuple(y.shape[1:])
            if tuple(dy.shape) != shape:
                raise self.error(f"expected dy in the shape of y, {shape}, got {tuple(dy.shape)}. Pass dL/dy.")
            self.check_like(dy, y, what="dy", of="y")
        for name, tensor in params.items():
            if isinstance(tensor, Mapping):
                self.check_gradient(tensor, {}, dy, f"{path}{name}.")
            else:
                self.check_like(dy, tensor, what="dy", of=f"the parameter '{path}{name}'")

    def check_like(self, x: Array, tensor: Array, what: str = "x", of: str = "its parameters") -> None:
        """Raise InputError for an array of another library, dtype or device than one that belongs to the layer."""
        if not same_location(x, tensor) or x.dtype != tensor.dtype:
            raise self.error(f"expected {what} to be {home(tensor)} as {of}, got {home(x)}. Convert or move {what}.")

    def check_key(self, key: Array | None, like: Array) -> None:
        """Raise InputError unless ``key`` is one of ``xpnet.random``, in the same place as the batch."""
        if key is None:
            raise self.error(
                "expected a key for its random numbers while training, got none. Pass key=xpnet.random.make_key(seed)."
            )
        shape = tuple(getattr(key, "shape", ()))
        if shape != (2,) or key.dtype != array_namespace(key).int32:
            kind = getattr(key, "dtype", type(key).__name__)
            raise self.error(
                f"expected a key, an int32 array of shape (2,), got {kind} of shape {shape}. "
                "Make one with xpnet.random.make_key."
            )
        if not same_location(key, like):
            raise self.error("expected a key beside the batch, got one of another library or device. Move the key.")


def shape_holder(x: Array) -> Array:
    """An array without elements that remembers the shape of one example.

    A cache may hold arrays only, since a number in it would become a traced value; the shape of an array never does.
    """
    xp = array_namespace(x)
    return xp.zeros((0, *x.shape[1:]), dtype=x.dtype, device=device(x))
