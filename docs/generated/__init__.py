"""Reference pages, generated from the code when the site is built.

The Markdown of `docs.generated.NAME.page()` replaces `<!-- generated: NAME -->` in a page.
"""
