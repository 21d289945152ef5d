"""
The pages beside this file, written from the code: ``python -m docs.reference``, or ``make reference``.

`…_page` say what is on a page, `markdown` how it is written, `sources` reads what only the code's text has. Edit
those, or the docstrings that they read, and not the pages.
"""
