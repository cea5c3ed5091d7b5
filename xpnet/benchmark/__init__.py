"""How long training steps and predictions take, beside other libraries; see benchmarks/README.md."""
