"""Methods that make the frame in the middle: our networks, and peers of any kind to hold them against.

A Method (in ``method``) takes four frames (4, 3, H, W), RGB in [0, 1], and gives the one between the inner
two, (3, H, W). What a person types becomes one in ``names``:

    name -----------------> classical   blend, dis, minterpolate
    weights, checkpoint --> network     a network of ours, padded and cropped by the Interpolator
    FILE.onnx ------------> onnx        anybody's network, run by ONNX Runtime
    CMD {1} {2} {out} ----> command     a program, given PNG files, run once for a frame
    FILE.py:FUNCTION -----> function    a Python function

Where a set has two frames only, the outer ones are repeated: [a, a, b, b]. A network with classical motion
takes that to be steady then, as at the ends of a clip.
"""
