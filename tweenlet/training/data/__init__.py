"""Training data: from footage to batches.

clips             finds and reads videos, folders of frames and published data sets
scan              windows without cuts or repeats, and their motion
plan              number of samples per clip
write             writes the planned samples: crops, and synthetic scenes
dataset           the samples, read from disk
build             all of these in order
batches           crops, augmentation, prefetching
teacher_outputs   teachers' frames for the samples, stored once
transcode         smaller copies of footage
"""
