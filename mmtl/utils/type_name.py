"""Names of the types in configs."""


def type_path(kind: str | type) -> str:
    """Return the dotted path of a type given as a class, and what is given otherwise ("LVViT", "mmtl.LVViT")."""
    return kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__name__}"


def type_name(kind: str | type) -> str:
    """Return the last part of a type: a name, a name with scope, a full path as in dumped configs, or a class."""
    return type_path(kind).rpartition(".")[2]
