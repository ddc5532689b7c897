"""Compression: making networks smaller by pruning and distillation, in one resumable run or stage by stage.

api          the functions of the package: train, sparsify, distill, compress
compress     everything in one run: plan_file, prune, distill, evaluate, report, tradeoff
budget       largest cost: parameters, multiply-adds, milliseconds (latency_table)
prune        by one of several methods: search (saliency, pieces), groups, widths
sparsify     training by obprox; densities of the result
inherit      a narrower network from the channels of a wider one (channels)
distill      training on teachers, held_out samples for the report
modules/     the same for networks outside the family
charts       of a run, for its report

It may import evaluation, training and everything below them.
"""
