"""A storm of blows on training runs and files: what an outsider with a hammer would try, drawn at random.

``blows`` are what happens inside a process at a moment of its life, ``trials`` what must be true afterwards, ``faults``
old faults that can be planted to see the storm find them.
"""
