"""
Every page of the documentation does what it says.

Reading order: `pages` finds blocks, links and headings; `syntax` and `commands` check what isn't run; `running` runs
the rest in a scratch checkout, page by page, as a reader would in one terminal; `conftest` starts the stack that they
call.

A block is run unless the paragraph above it tells the reader otherwise (`pages.MARKS`).
"""
