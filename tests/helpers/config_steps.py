"""Steps of a config's pipeline, found by their type instead of their position."""

from mmengine.config import Config, ConfigDict


def find_step(pipeline: list[ConfigDict], type_name: str) -> ConfigDict:
    """Return the only step of a type, such as ``mmtl.LoadScoreMap``; changes to it change the config."""
    (step,) = (step for step in pipeline if step["type"] == type_name)
    return step


def tta_views(cfg: Config) -> list[list[ConfigDict]]:
    """Return the groups of transforms that make the views of test-time augmentation."""
    return find_step(cfg.tta_pipeline, "TestTimeAug").transforms
