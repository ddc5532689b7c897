"""Baselines: methods that predict the middle frame, our networks and anything to compare them with.

A Method (in ``method``) takes four frames (4, 3, H, W), RGB in [0, 1], and returns the one between the inner
two, (3, H, W). ``names`` resolves names from the command line:

    name -----------------> classical   blend, dis, minterpolate
    weights, checkpoint --> network     a network of the family, padded and cropped by the Interpolator
    FILE.onnx ------------> onnx        any network, run by ONNX Runtime
    CMD {1} {2} {out} ----> command     a program that reads and writes PNG files, run once per frame
    FILE.py:FUNCTION -----> function    a Python function

For data sets with two input frames, the outer ones are repeated: [a, a, b, b]. Networks of four frames then
assume constant velocity, as at the ends of a clip.
"""
