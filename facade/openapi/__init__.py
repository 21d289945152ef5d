"""
The OpenAPI document: what FastAPI can't know, as routes read and write their bodies themselves.

- `operations`: what each route takes and gives, in a table.
- `components`: schemas from `facade.schemas` and their docstrings, errors from `facade.problems`, headers.
- `document`: FastAPI's own document, completed with both.
- `docstrings`: what a class's own text says of its fields.
"""
