from mmengine.visualization import BaseVisBackend

from mmtl.registry import VISBACKENDS


@VISBACKENDS.register_module()
class NoVisBackend(BaseVisBackend):
    """Writes nothing: keeps a place in a config's list for a backend that is chosen on the command line.

    ``--cfg-options visualizer.vis_backends.1.type=TensorboardVisBackend`` puts TensorBoard there.
    """

    @property
    def experiment(self) -> None:
        """Nothing to write to."""

    def _init_env(self) -> None:
        """Nothing to prepare."""
