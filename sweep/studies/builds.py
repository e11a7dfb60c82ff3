"""Which shards does one use of a source read, and what are they called: a build for each stored form that rows need."""

from dataclasses import dataclass, fields

from datasets_io.build.spec import BuildSpec


@dataclass(frozen=True)
class Build:
    """One archive in one stored form, as one use of a source reads it. instance: the name of that use in the study.

    label: how messages and files call it: `chexpert`, or `chexpert (aspect, 576)` where rows need another form than
    the one that the study declares. Builds of equal specs and archives have several labels and one folder.
    """

    label: str
    instance: str
    spec: BuildSpec

    @property
    def source(self) -> str:
        """Name of the source that reads its archive."""
        return self.spec.source


def build_of(instance: str, declared: BuildSpec, needed: BuildSpec) -> Build:
    """The build of an instance in the form that a row needs. declared: the form that the study names."""
    # The side in pixels comes last; what both have in common says nothing.
    names = sorted((field.name for field in fields(BuildSpec)), key=lambda name: name == "image_size")
    differing = [name for name in names if getattr(needed, name) != getattr(declared, name)]
    if not differing:
        return Build(instance, instance, declared)
    # A picture is known by its form and its side: the side is named also where the form alone differs.
    named = [str(getattr(needed, name)) for name in names if name in differing or name == "image_size"]
    return Build(f"{instance} ({', '.join(named)})", instance, needed)
