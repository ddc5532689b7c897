"""Modules: any interpolation network made small, not only those of the family.

adapter    a module under the signature of the family, or loaded from FILE.py:CLASS
pruning    Torch-Pruning, each layer tried first
weights    the widths that a file's tensors have
compress   pruned, distilled and scored in one resumable run
"""
