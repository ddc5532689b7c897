"""The network: one file per box of the paper's figure, assembled in ``stmfnet``.

features, adacof_heads, flow, fusion, texture   the boxes of ST-MFNet; blocks: what several of them share
intermediate_flow, four_frames                  networks that take a time
motion            motion estimated beforehand, for one window of a stream
channels          the channels that each block declares, for compression
config            widths, branches and scales as a value
checkpoint        a config plus tensors in a file; weight_files: where files are; official: published ones
hub, catalogue    the Hugging Face Hub; sizes and scores for people who choose
cost              parameters and multiply-adds, part by part

It may import :mod:`tweenlet.ops` and :mod:`tweenlet.runtime` only.
"""
