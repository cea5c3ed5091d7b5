"""Labelled images: where they come from, how they are checked, how they are cut into batches."""
