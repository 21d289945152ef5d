"""
One version as a page that a reviewer can attach to a deploy ticket: a single HTML file that loads nothing.

    facts       what the page tells, read from the repository; with ``--measure`` also timed here
    page        the page: its head, its sections in order
    sections, parity    each section, from the facts to tables and charts
    charts      SVG: bars, dots in rows, a scatter
    html        escaped text, tables, lists of terms
    style       the page's style: light, dark, and on paper

A chart never stands alone: the table beside it has every figure.
"""
