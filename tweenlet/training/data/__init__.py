"""Training data: from footage to batches.

clips             videos, folders of frames and published data sets, found and read
scan              windows without cuts or repeats, and their motion
plan              how many samples each clip gives
write             planned samples onto disk: crops, and scenes from synthetic
dataset           the samples, read from disk
build             all of these in order
batches           crops, augmentation, prefetching
teacher_outputs   teachers' frames for the samples, stored once
transcode         footage made small
"""
