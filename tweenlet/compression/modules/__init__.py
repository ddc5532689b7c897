"""Modules: compression of any interpolation network, not only those of the family.

adapter    a module under the signature of the family, or loaded from FILE.py:CLASS
pruning    Torch-Pruning, after trying each layer
weights    a file's tensors into the original class
compress   prune, distil and score in one resumable run
"""
