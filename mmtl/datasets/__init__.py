from mmtl.datasets.imagenet_folders import ImageNetFolders

__all__ = ["ImageNetFolders"]
