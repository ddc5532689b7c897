"""Training: one loop for every network, and the datasets it learns from.

options       options of trainings, datasets and compressions, as values
data/         from footage to batches
losses        losses and the objective
state         weights, EMA, optimiser: everything the next step depends on, and its file
loop          the training loop, resumable bit for bit
distributed   several processes under torchrun

It may import evaluation and everything below; compression imports it.
"""
