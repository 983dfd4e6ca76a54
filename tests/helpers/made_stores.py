"""Stores that the small annotator makes."""

from helpers.score_map_makers import tiny_annotator

from mmtl.annotators.generate import Options
from mmtl.annotators.make_store import make_store, prepare_job
from mmtl.annotators.work_queue import LocalQueue

OPTIONS = Options(topk=2, batch_size=3, workers=0, shard_images=4)


def make(images, folder, options=OPTIONS, queue=None, annotator=None):
    job = prepare_job(annotator or tiny_annotator(), images, folder, options)
    make_store(job, queue or LocalQueue())
    return job
