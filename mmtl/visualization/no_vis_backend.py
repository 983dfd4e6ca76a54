from mmengine.visualization import BaseVisBackend

from mmtl.registry import VISBACKENDS


@VISBACKENDS.register_module()
class NoVisBackend(BaseVisBackend):
    """Writes nothing: an entry in a config's list that the command line can replace.

    ``--cfg-options visualizer.vis_backends.1.type=TensorboardVisBackend`` enables TensorBoard.
    """

    @property
    def experiment(self) -> None:
        """None: there is nothing to write to."""

    def _init_env(self) -> None:
        """Prepare nothing."""
