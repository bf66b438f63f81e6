"""The reference pages that are made from the code, each when the site is built.

A page holds `<!-- generated: NAME -->` where the Markdown of `docs.generated.NAME.page()` goes.
"""
