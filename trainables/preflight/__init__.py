"""Does an encoder or a text tower do what a study asks of it? Each is built and fed once, on the CPU, before any work.

`trial` is Ray Tune's word for one run of a search: what is tried here is called a preflight check.
"""
