"""Operators that compute each element by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

from xpnet import layers
from xpnet.backend import Array, array_namespace, has_kind
from xpnet.layers.gates import normal_cdf
from xpnet.onnx.operators.call import Call, Operator, astype, dtype_name, dtype_of, error, is_floating, like, scalar


def _standard(name: str) -> Operator:
    """The function of the standard with this name."""
    return lambda call, *inputs: getattr(array_namespace(inputs[0]), name)(*inputs)


def _layer(make: Callable[[Call], Any]) -> Operator:
    """The output of a layer without parameters."""
    return lambda call, x: make(call).unchecked_forward({}, {}, x).y


def _folded(name: str) -> Operator:
    """A function of two arrays on any number of them."""

    def operator(call: Call, *inputs: Array) -> Array:
        return reduce(lambda x, y: getattr(array_namespace(x), name)(x, y), inputs)

    return operator


def _by_int64(operator: Operator) -> Operator:
    """The operator for uint16 and uint32, which PyTorch cannot compute with, by way of int64, which holds them."""

    def wide(call: Call, *inputs: Array) -> Array:
        dtype = inputs[0].dtype
        if dtype_name(inputs[0]) not in ("uint16", "uint32"):
            return operator(call, *inputs)
        y = operator(call, *(astype(x, array_namespace(x).int64) for x in inputs))
        return y if dtype_name(y) == "bool" else astype(y, dtype)

    return wide


def _mean(call: Call, *inputs: Array) -> Array:
    return reduce(lambda x, y: x + y, inputs) / len(inputs)


def _divide(call: Call, x: Array, y: Array) -> Array:
    """Of integers the quotient without its fraction: towards zero, as in C."""
    xp = array_namespace(x)
    if is_floating(x):
        return x / y
    if has_kind(x, "unsigned integer"):
        return x // y
    quotient = xp.abs(x) // xp.abs(y)
    return xp.where((x < 0) == (y < 0), quotient, -quotient)


def _modulo(call: Call, x: Array, y: Array) -> Array:
    xp = array_namespace(x)
    if not call.get("fmod", 0) or has_kind(x, "unsigned integer"):
        return _remainder(xp, x, y)
    rest = _remainder(xp, xp.abs(x), xp.abs(y))
    return xp.where(x < 0, -rest, rest)


def _remainder(xp: Any, x: Array, y: Array) -> Array:
    """The rest x - y floor(x / y), and for infinite y its limit, where CuPy's own is NaN."""
    if not is_floating(x):
        return xp.remainder(x, y)
    limit = xp.where((x == 0) | ((x < 0) == (y < 0)), x, y)
    return xp.where(xp.isinf(y) & xp.isfinite(x), limit, xp.remainder(x, y))


def _power(call: Call, x: Array, y: Array) -> Array:
    """In x's dtype; of an integer and a real number computed in float64, where there is one."""
    xp = array_namespace(x)
    if x.dtype == y.dtype:
        return xp.pow(x, y)
    if is_floating(x):
        return xp.pow(x, astype(y, x.dtype))
    wide = y.dtype if is_floating(y) else xp.int64
    return astype(xp.pow(astype(x, wide), astype(y, wide)), x.dtype)


def _shift(call: Call, x: Array, y: Array) -> Array:
    xp, left = array_namespace(x), call.get("direction") == "LEFT"
    bits = xp.iinfo(x.dtype).bits
    is_inside = (y >= 0) & (y < bits)  # other shifts are undefined in C, and so on CuPy: here they are by all bits
    most = xp.where(is_inside, y, xp.full_like(y, bits - 1))
    if not left and has_kind(x, "signed integer"):
        return xp.bitwise_right_shift(x, most)
    shifted = xp.bitwise_left_shift(x, most) if left else xp.bitwise_right_shift(x, most)
    return xp.where(is_inside, shifted, xp.zeros_like(x))


def _is_infinite(call: Call, x: Array) -> Array:
    xp = array_namespace(x)
    found = xp.isinf(x)
    if not call.get("detect_negative", 1):
        found = found & (x > 0)
    return found if call.get("detect_positive", 1) else found & (x < 0)


def _clip(call: Call, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    xp = array_namespace(x)
    if call.opset < 11:
        low, high = (None if call.get(name) is None else like(x, call.get(name)) for name in ("min", "max"))
    x = x if low is None else xp.maximum(x, low)
    return x if high is None else xp.minimum(x, high)


def _erf(call: Call, x: Array) -> Array:
    """2 Φ(x sqrt 2) - 1; near 0, where that loses digits, the series 2/sqrt(π) (x - x³/3 + x⁵/10 - x⁷/42)."""
    xp = array_namespace(x)
    square = x * x
    near_zero = (2 / math.sqrt(math.pi)) * x * (1 - square * (1 / 3 - square * (1 / 10 - square / 42)))
    return xp.where(xp.abs(x) < 0.05, near_zero, 2 * normal_cdf(x * math.sqrt(2)) - 1)


def _leaky(call: Call, x: Array) -> Array:
    return _with_slope(x, call.get("alpha", 0.01))


def _prelu(call: Call, x: Array, slope: Array) -> Array:
    return _with_slope(x, slope)


def _with_slope(x: Array, slope: Array | float) -> Array:
    return array_namespace(x).where(x < 0, x * slope, x)


def _elu(call: Call, x: Array) -> Array:
    return _exponential(x, call.get("alpha", 1.0), 1.0)


def _selu(call: Call, x: Array) -> Array:
    gamma = call.get("gamma", layers.SELU.scale)
    return gamma * _exponential(x, call.get("alpha", layers.SELU.alpha), 1.0)


def _celu(call: Call, x: Array) -> Array:
    return _exponential(x, call.get("alpha", 1.0), call.get("alpha", 1.0))


def _exponential(x: Array, alpha: float, scale: float) -> Array:
    """What is x above 0, and alpha (exp(x / scale) - 1) below."""
    xp = array_namespace(x)
    zero = xp.zeros_like(x)
    return xp.maximum(x, zero) + alpha * xp.expm1(xp.minimum(x, zero) / scale)


def _hard_sigmoid(call: Call, x: Array) -> Array:
    xp = array_namespace(x)
    y = call.get("alpha", 0.2) * x + call.get("beta", 0.5)
    return xp.minimum(xp.maximum(y, xp.zeros_like(x)), xp.ones_like(x))


def _mish(call: Call, x: Array) -> Array:
    return x * array_namespace(x).tanh(layers.Softplus().apply(x))


def _swish(call: Call, x: Array) -> Array:
    return x * layers.Sigmoid().apply(call.get("alpha", 1.0) * x)


def _shrink(call: Call, x: Array) -> Array:
    xp, bias, limit = array_namespace(x), call.get("bias", 0.0), call.get("lambd", 0.5)
    middle = xp.where(x > limit, x - bias, xp.zeros_like(x))
    return xp.where(x < -limit, x + bias, middle)


def _thresholded(call: Call, x: Array) -> Array:
    xp = array_namespace(x)
    return xp.where(x > call.get("alpha", 1.0), x, xp.zeros_like(x))


def _cast(call: Call, x: Array) -> Array:
    return _converted(x, dtype_of(x, call.get("to")))


def _cast_like(call: Call, x: Array, target: Array) -> Array:
    return _converted(x, target.dtype)


def _converted(x: Array, dtype: Any) -> Array:
    return x != 0 if str(dtype).endswith("bool") and dtype_name(x) != "bool" else astype(x, dtype)


def _dropout(call: Call, x: Array, ratio: Array | None = None, training: Array | None = None) -> Any:
    """The input and a mask of True: random zeros differ between programs, and no case asks for them unseeded."""
    xp = array_namespace(x)
    share = 0.5 if ratio is None else scalar(ratio)
    if training is not None and scalar(training) and share:
        raise error("expected training_mode to be False, got True. Train the network as xpnet's: Network.from_onnx")
    mask = xp.ones_like(x, dtype=xp.bool if call.opset >= 10 else x.dtype)
    return (x, mask) if call.outputs > 1 else x


OPERATORS: Mapping[str, Operator] = {
    "Abs": _standard("abs"),
    "Acos": _standard("acos"),
    "Acosh": _standard("acosh"),
    "Add": _by_int64(_standard("add")),
    "And": _standard("logical_and"),
    "Asin": _standard("asin"),
    "Asinh": _standard("asinh"),
    "Atan": _standard("atan"),
    "Atanh": _standard("atanh"),
    "BitShift": _by_int64(_shift),
    "BitwiseAnd": _by_int64(_standard("bitwise_and")),
    "BitwiseNot": _by_int64(_standard("bitwise_invert")),
    "BitwiseOr": _by_int64(_standard("bitwise_or")),
    "BitwiseXor": _by_int64(_standard("bitwise_xor")),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Ceil": _standard("ceil"),
    "Celu": _celu,
    "Clip": _clip,
    "Cos": _standard("cos"),
    "Cosh": _standard("cosh"),
    "Div": _by_int64(_divide),
    "Dropout": _dropout,
    "Elu": _elu,
    "Equal": _by_int64(_standard("equal")),
    "Erf": _erf,
    "Exp": _standard("exp"),
    "Floor": _standard("floor"),
    "Gelu": _layer(lambda call: layers.GELU(call.get("approximate", "none"))),
    "Greater": _by_int64(_standard("greater")),
    "GreaterOrEqual": _by_int64(_standard("greater_equal")),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _layer(lambda call: layers.HardSwish()),
    "Identity": lambda call, x: x,
    "IsInf": _is_infinite,
    "IsNaN": _standard("isnan"),
    "LeakyRelu": _leaky,
    "Less": _by_int64(_standard("less")),
    "LessOrEqual": _by_int64(_standard("less_equal")),
    "Log": _standard("log"),
    "Max": _by_int64(_folded("maximum")),
    "Mean": _mean,
    "Min": _by_int64(_folded("minimum")),
    "Mish": _mish,
    "Mod": _by_int64(_modulo),
    "Mul": _by_int64(_standard("multiply")),
    "Neg": _standard("negative"),
    "Not": _standard("logical_not"),
    "Or": _standard("logical_or"),
    "PRelu": _prelu,
    "Pow": _power,
    "Reciprocal": lambda call, x: 1 / x,
    "Relu": _layer(lambda call: layers.ReLU()),
    "Round": _standard("round"),
    "Selu": _selu,
    "Shrink": _shrink,
    "Sigmoid": _layer(lambda call: layers.Sigmoid()),
    "Sign": _standard("sign"),
    "Sin": _standard("sin"),
    "Sinh": _standard("sinh"),
    "Softplus": _layer(lambda call: layers.Softplus()),
    "Softsign": lambda call, x: x / (1 + array_namespace(x).abs(x)),
    "Sqrt": _standard("sqrt"),
    "Sub": _by_int64(_standard("subtract")),
    "Sum": _folded("add"),
    "Swish": _swish,
    "Tan": _standard("tan"),
    "Tanh": _layer(lambda call: layers.Tanh()),
    "ThresholdedRelu": _thresholded,
    "Where": lambda call, condition, x, y: array_namespace(x).where(condition, x, y),
    "Xor": _standard("logical_xor"),
}
