"""How long a training step and a prediction take, beside the same network in other libraries; see benchmarks/README.md."""
