"""Training, and making networks small.

clips, footage                            paths to clips and their frames; clips to windows
harvest, store, motion, pack              windows to samples on disk
data, course                              samples to batches; from paths to what a training takes
options, losses, state, loop, parallel    the one loop
obprox, prune, densities                  stage 1: a network that is mostly zeros
budget, compact, inherit, channels        from densities to a smaller network
distill, taught                           stage 2: a network that learns from others
compress, report, charts                  all of it in one, and what came of it
"""
