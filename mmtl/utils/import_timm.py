from types import ModuleType


def import_timm(name: str) -> ModuleType:
    """Return the module timm, which the model of this name needs."""
    try:
        import timm
    except ImportError:
        raise ImportError(f"{name} needs timm. Install it with: pip install timm") from None
    return timm
