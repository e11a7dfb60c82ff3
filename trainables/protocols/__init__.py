"""Protocols: how an encoder is evaluated (LP, LPFT, FT), one file for each; `trainables.registry` names them."""
