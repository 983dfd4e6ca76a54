from mmtl.visualization.no_vis_backend import NoVisBackend

__all__ = ["NoVisBackend"]
