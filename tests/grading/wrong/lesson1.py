"""Typical wrong answers to lesson 1: function, text of the solution, text of the student, words of the sentence.

An old text of "" stands for the whole body.
"""

WRONG = {
    "dense": [
        ("dense_forward", " + b", "", "lacks the bias"),
        ("dense_forward", "+ b", "- b", "b with the wrong sign"),
        ("dense_forward", "W.T", "W", "lacks the transpose of W"),
        ("dense_forward", "x @ W.T", "W @ x", "examples in columns"),
        ("dense_forward", "x @ W.T", "x * W", "element by element"),
        ("dense_forward", "x @ W.T + b", "np.maximum(x @ W.T + b, 0)", "has a ReLU"),
        ("dense_forward", "return x @ W.T + b", "y = x @ W.T + b", "returns None"),
        ("dense_forward", "return x @ W.T + b", "x += 1\n    return (x - 1) @ W.T + b", "changes its argument x"),
        ("dense_forward", "x @ W.T + b", "np.matmul(x, W.T).astype('float64') + b", "float64 for inputs of float32"),
        ("dense_forward", "", "raise NotImplementedError", "to do"),
        ("dense_backward", "dy @ W\n", "dy @ W.T\n", "dW and db are right, dx has a transpose of W too many"),
        ("dense_backward", "dy @ W\n", "W.T @ dy\n", "dx is W^T dy, for examples in columns"),
        ("dense_backward", "dy @ W\n", "dy * W\n", "dx is a product element by element"),
        ("dense_backward", "dy.T @ x", "x.T @ dy", "dx and db are right, dW is transposed"),
        ("dense_backward", "dy.T @ x", "dy.T @ x / len(x)", "dW is divided by the number of examples once too often"),
        ("dense_backward", "dy.T @ x", "np.outer(dy[0], x[0])", "dW is of the first example alone"),
        ("dense_backward", "axis=0", "axis=1", "dx and dW are right, db is summed over the wrong axis"),
        ("dense_backward", "axis=0", "", "db is summed over all axes"),
        ("dense_backward", "dy.sum(axis=0)", "dy.mean(axis=0)", "db is averaged"),
        ("dense_backward", "axis=0", "axis=0, keepdims=True", "db keeps the axis"),
        ("dense_backward", "dx, dW, db", "dx, dW", "returns 2 values, expected 3: dx, dW, db"),
        ("dense_backward", "dx, dW, db", "dx, dW, {}", "gives a dict for db"),
        ("dense_backward", "dy @ W\n", "-2 * dy @ W\n", "dx is -2 times what it should be"),
        ("dense_backward", "dy @ W\n", "dy @ W + 1\n", "dW and db are right, dx[0, 0] is"),
        ("dense_backward", "dy @ W\n", "dy @ W * np.nan\n", "dW and db are right, dx holds NaN for"),
        ("dense_backward", "dy @ W\n", "dy @ W / 0.0\n", "dx holds infinite values for"),
        ("dense_backward", "dx, dW, db", "dx, dW.tolist(), db", "gives dW as a list, expected an array"),
    ],
    "relu": [
        ("relu_forward", "np.maximum(x, 0)", "np.abs(x)", "y is |x|"),
        ("relu_forward", "np.maximum(x, 0)", "(x > 0) * 1.0", "is the slope"),
        ("relu_forward", "np.maximum(x, 0)", "np.max(x, 0)", "y has shape"),
        ("relu_forward", "np.maximum(x, 0)", "max(x, 0)", "max, min and if take one number"),
        ("relu_forward", "np.maximum(x, 0)", "x if x > 0 else 0", "np.maximum(x, 0) and np.where"),
        ("relu_backward", "np.where(x > 0, dy, 0)", "(dy * (x > 0)).tolist()", "gives dx as a list, expected an array"),
        ("relu_forward", "np.maximum(x, 0)", "np.clip(x, 0, 1)", "cut off above 1"),
        ("relu_forward", "np.maximum(x, 0)", "1 / (1 + np.exp(-x))", "is the sigmoid"),
        ("relu_forward", "return", "x[x < 0] = 0\n    return", "changes its argument x"),
        ("relu_backward", "x > 0", "x >= 0", "also passes dy where x = 0"),
        ("relu_backward", "x > 0", "dy > 0", "asks whether dy is positive"),
        ("relu_backward", "x > 0", "x < 0", "the other way round"),
        ("relu_backward", "np.where(x > 0, dy, 0)", "dy", "passes dy everywhere"),
        ("relu_backward", "dy, 0)", "1.0, 0)", "lacks dy"),
        ("relu_backward", "dy, 0)", "x * dy, 0)", "multiplies dy by y"),
        ("relu_backward", "np.where(x > 0, dy, 0)", "dy * np.sign(x)", "as |x| has"),
    ],
    "softmax cross-entropy": [
        ("softmax_cross_entropy", "np.mean(", "np.sum(", "dz is right, loss is summed over the examples"),
        (
            "softmax_cross_entropy",
            "np.mean(np.log(total[:, 0]) - shifted[rows, labels])",
            "np.mean(shifted[rows, labels] - np.log(total[:, 0]))",
            "loss has the wrong sign",
        ),
        ("softmax_cross_entropy", "z - z.max(axis=1, keepdims=True)", "z", "overflows for large logits"),
        (
            "softmax_cross_entropy",
            "np.mean(np.log(total[:, 0]) - shifted[rows, labels])",
            "-np.mean(np.log((e / total)[rows, labels]))",
            "dz is right, loss is infinite where a probability rounds to 0",
        ),
        (
            "softmax_cross_entropy",
            "np.mean(np.log(total[:, 0]) - shifted[rows, labels])",
            "-np.mean(np.log((e / total)[rows, labels] + 1e-12))",
            "is cut off",
        ),
        (
            "softmax_cross_entropy",
            "np.mean(np.log(total[:, 0]) - shifted[rows, labels])",
            "-np.mean((e / total)[rows, labels])",
            "lacks the logarithm",
        ),
        (
            "softmax_cross_entropy",
            "np.mean(np.log(total[:, 0]) - shifted[rows, labels])",
            "np.log(total[:, 0]) - shifted[rows, labels]",
            "loss is not averaged",
        ),
        ("softmax_cross_entropy", "dz / len(z)", "dz", "loss is right, dz is not divided by the number of examples"),
        (
            "softmax_cross_entropy",
            "dz / len(z)",
            "dz / len(z) ** 2",
            "dz is divided by the number of examples once too often",
        ),
        ("softmax_cross_entropy", "dz / len(z)", "dz / z.size", "averaged over all entries"),
        ("softmax_cross_entropy", "dz / len(z)", "-dz / len(z)", "dz has the wrong sign"),
        ("softmax_cross_entropy", "    dz[rows, labels] -= 1\n", "", "lacks the 1 of the true class"),
        ("softmax_cross_entropy", "dz[rows, labels] -= 1", "dz[rows, dz.argmax(axis=1)] -= 1", "most probable"),
        (
            "softmax_cross_entropy",
            "dz[rows, labels] -= 1",
            "dz[:, labels] -= 1",
            "dz subtracts the 1 of all labels in every row",
        ),
        (
            "softmax_cross_entropy",
            "z.max(axis=1, keepdims=True)",
            "z.max()",
            "loss subtracts the largest logit of the whole batch: subtract that of each row; dz subtracts the largest",
        ),
        (
            "softmax_cross_entropy",
            "    shifted = z - z.max(axis=1, keepdims=True)\n    e = np.exp(shifted)\n"
            "    total = e.sum(axis=1, keepdims=True)\n"
            "    loss = np.mean(np.log(total[:, 0]) - shifted[rows, labels])\n",
            "    e = np.exp(z - z.max())\n    total = e.sum(axis=1, keepdims=True)\n"
            "    loss = -np.mean(np.log((e / total)[rows, labels]))\n",
            "loss subtracts the largest logit of the whole batch",
        ),
        (
            "softmax_cross_entropy",
            "- shifted[rows, labels]",
            "- z[rows, labels]",
            "dz is right, loss subtracts the largest logit in the sum of exponentials alone",
        ),
        (
            "softmax_cross_entropy",
            "np.log(total[:, 0])",
            "np.log(np.exp(z).sum(axis=1))",
            "loss subtracts the largest logit from that of the true class alone",
        ),
        (
            "softmax_cross_entropy",
            "loss = np.mean(np.log(total[:, 0]) - shifted[rows, labels])\n    dz = e / total",
            "dz = np.clip(e / total, 1e-7, 1 - 1e-7)\n    loss = -np.mean(np.log(dz[rows, labels]))",
            "loss is cut off where a probability is tiny",
        ),
        (
            "softmax_cross_entropy",
            "dz = e / total",
            "dz = np.clip(e / total, 1e-7, 1 - 1e-7)",
            "loss is right, dz is made with probabilities that are cut off",
        ),
        (
            "softmax_cross_entropy",
            "total = e.sum(axis=1, keepdims=True)",
            "total = np.full((len(z), 1), e.sum())",
            "loss uses a softmax over the whole batch",
        ),
    ],
    "convolution": [
        ("conv_forward", " + b", "", "lacks the bias"),
        ("conv_forward", "window, W,", "window, W[:, ::-1, ::-1],", "flips the kernel"),
        ("conv_forward", "window, W,", "window, W.swapaxes(1, 2),", "transposes the kernel"),
        (
            "conv_forward",
            "np.tensordot(window, W, axes=([1, 2, 3], [1, 2, 3]))",
            "np.tensordot(window[..., 0], W[..., 0], axes=([1, 2], [1, 2]))",
            "first channel alone",
        ),
        ("conv_forward", "range(width - k + 1)", "range(width - k)", "y"),
        (
            "conv_forward",
            "np.empty((N, height - k + 1, width - k + 1, filters), x.dtype)\n    for i in range(height - k + 1):\n"
            "        for j in range(width - k + 1)",
            "np.zeros((N, height - k + 1, width - k + 1, filters), x.dtype)\n    for i in range(height - k + 1):\n"
            "        for j in range(width - k)",
            "y is 0 in the last column: there are H - k + 1 positions",
        ),
        (
            "conv_forward",
            "np.empty((N, height - k + 1, width - k + 1, filters), x.dtype)\n    for i in range(height - k + 1):\n"
            "        for j in range(width - k + 1)",
            "np.zeros((N, height - k + 1, width - k + 1, filters), x.dtype)\n    for i in range(height - k):\n"
            "        for j in range(width - k + 1)",
            "y is 0 in the last row: there",
        ),
        (
            "conv_backward",
            "range(dy.shape[1])",
            "range(dy.shape[1] - 1)",
            "db is right, dx lacks the last row of dy; dW lacks the last row of dy",
        ),
        (
            "conv_backward",
            "range(dy.shape[2])",
            "range(dy.shape[2] - 1)",
            "db is right, dx lacks the last column of dy; dW lacks the last column of dy",
        ),
        ("conv_backward", "dy.sum(axis=(0, 1, 2))", "dy[:, :, :-1].sum(axis=(0, 1, 2))", "db lacks the last column"),
        (
            "conv_forward",
            "np.empty((N, height - k + 1, width - k + 1, filters), x.dtype)",
            "np.empty((N, height, width, filters), x.dtype)",
            "y has shape",
        ),
        ("conv_forward", "filters), x.dtype)", "filters))", "float64 for inputs of float32: keep the dtype"),
        ("conv_forward", "return y", "return y.transpose(0, 3, 1, 2)", "filters before the positions"),
        ("conv_forward", "+ b\n", "+ b * k * k * x.shape[3]\n", "once for each entry of the kernel"),
        (
            "conv_backward",
            "np.tensordot(g, W, axes=1)",
            "np.tensordot(g, W[:, ::-1, ::-1], axes=1)",
            "dW and db are right, dx lacks the flip",
        ),
        ("conv_backward", "+= np.tensordot(g, W", "= np.tensordot(g, W", "dx is overwritten where windows overlap"),
        ("conv_backward", "dW +=", "dW =", "dW is that of the last position alone"),
        ("conv_backward", "return dx, dW", "return dx, dW[:, ::-1, ::-1]", "dW is flipped"),
        ("conv_backward", "return dx, dW", "return dx, dW / len(x)", "dW is divided by the number of examples"),
        ("conv_backward", "axis=(0, 1, 2)", "axis=(1, 2)", "db is not summed over the images"),
        ("conv_backward", "axis=(0, 1, 2)", "axis=0", "db is not summed over the positions"),
        ("conv_backward", "axis=(0, 1, 2)", "axis=(1, 2, 3)", "db is summed over the wrong axes"),
        (
            "conv_backward",
            "dy.sum(axis=(0, 1, 2))",
            "dy.mean(axis=(0, 1, 2))",
            "db is averaged over images and positions",
        ),
    ],
    "max-pool": [
        ("max_pool_forward", ".max(", ".mean(", "is the mean of each window"),
        ("max_pool_forward", ".max(", ".min(", "is the minimum"),
        (
            "max_pool_forward",
            "max(axis=(1, 2))",
            "max(axis=(1, 2, 3), keepdims=True)[:, 0, 0]",
            "over the channels too",
        ),
        ("max_pool_forward", "return y", "return np.maximum(y, 0)", "starts the maximum at 0"),
        (
            "max_pool_forward",
            "x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]",
            "x[:, i : i + 2, j : j + 2]",
            "has its windows at i:i+2, j:j+2: they begin at 2 i, 2 j",
        ),
        ("max_pool_forward", "2 * j + 2]", "2 * j + 1]", "compares the rows of a window alone"),
        ("max_pool_forward", "return y", "return x[:, ::2, ::2]", "upper left entry"),
        ("max_pool_backward", "winner == place", "window[:, place] == window.max(axis=1)", "gives dy to every tie"),
        ("max_pool_backward", "np.where(winner == place, dy[:, i, j], 0)", "dy[:, i, j]", "dy to all four entries"),
        ("max_pool_backward", "np.where(winner == place, dy[:, i, j], 0)", "dy[:, i, j] / 4", "as mean-pooling does"),
        ("max_pool_backward", "dy[:, i, j], 0", "dy[:, i, j] / 4, 0", "is 0.25 times"),
        ("max_pool_backward", "np.argmax", "np.argmin", "to the smallest entry"),
        ("max_pool_backward", "dy[:, i, j], 0", "window[:, place], 0", "holds the maxima"),
        ("max_pool_backward", "dy[:, i, j], 0", "1, 0", "lacks dy"),
        ("max_pool_backward", "winner == place", "winner != place", "the other way round"),
        ("max_pool_backward", "winner == place", "place == 0", "upper left entry"),
        (
            "max_pool_backward",
            "place // 2, 2 * j + place % 2",
            "place % 2, 2 * j + place // 2",
            "the winner by columns",
        ),
        ("max_pool_backward", "dy[:, i, j], 0", "dy[:, i, j, :1], 0", "gives the dy of channel 0 to all"),
        ("max_pool_backward", "winner == place", "winner[:, :1] == place", "takes the winner of channel 0 for all"),
        (
            "max_pool_backward",
            "x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]",
            "x[:, i : i + 2, j : j + 2]",
            "has its windows at i:i+2",
        ),
        *(
            (
                "max_pool_backward",
                "    dx = np.zeros_like(x)\n",
                "    dx, whole, x = np.zeros_like(x), x, np.zeros_like(x)\n"
                "    for i in range(dy.shape[1]):\n"
                "        for j in range(dy.shape[2]):\n"
                "            window = whole[:, i : i + 2, j : j + 2].reshape(len(x), 4, -1)\n"
                "            for place in range(4):\n"
                f"                dx[:, i + place // 2, j + place % 2] {sign} np.where(\n"
                "                    np.argmax(window, axis=1) == place, dy[:, i, j], 0)\n"
                "    return dx\n",
                "has its windows at i:i+2",
            )
            for sign in ("+=", "=")
        ),
        ("max_pool_backward", "np.zeros_like(x)", "np.zeros_like(dy)", "raises IndexError in line"),
    ],
}
