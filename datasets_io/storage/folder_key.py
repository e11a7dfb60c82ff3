"""Is what lies in a folder what the folder's name says, and no copy of another one's content?"""

import re

_KEY = re.compile(r"-([0-9a-f]{12})$")  # of an item or a build, at the end of its folder's name


def is_of_another(folder: str, key: object) -> bool:
    """Whether a folder's name ends with another key than its content says; False where either says none."""
    if key is None or folder[-13:] == f"-{key}":  # as nearly all of 100,000 folders, without a search for the pattern
        return False
    own = _KEY.search(folder)
    return own is not None and key != own[1]
