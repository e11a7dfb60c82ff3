"""What is raised for an argument that cannot be used?"""


class BadInput(Exception):
    """What the user gave cannot be used; the message is one sentence for the user."""
