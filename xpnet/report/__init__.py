"""A run as one page to read, print and hand in; see ``page.render``."""
