"""Runs on disk: what was asked for, the folder that it leaves behind, and the checkpoints from which it goes on."""

from xpnet.runs.config import RunConfig

__all__ = ["RunConfig"]
