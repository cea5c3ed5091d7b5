"""Command-line programs: flags and printing, one file per script."""
