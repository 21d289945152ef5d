"""
HTTP shapes to the façade's own values and back, one file a surface; nothing else happens here.

Routes take the raw body and give raw bytes: vectors never pass through pydantic or a generic encoder.
"""
