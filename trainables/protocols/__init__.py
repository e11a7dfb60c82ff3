"""Protocols: how an encoder is evaluated (LP, LPFT, FT), one file for each; `registry.py` names them."""
