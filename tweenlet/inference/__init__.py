"""Inference: running networks, fused for a CPU, on CUDA, or by other engines; and the time of each part.

fused/            the network with folded norms and fused layers, for a CPU
cuda              the network on a CUDA device; cuda_graphs: captured and replayed
engines           one network by any engine, or the fastest one
onnx              a network as an ONNX file; onnx_session: a session of ONNX Runtime
lite              the default network without PyTorch; lite_graphs writes its graphs
latency, machine  milliseconds of each part; the machine behind a measurement

It may import :mod:`tweenlet.network`, :mod:`.ops` and :mod:`.runtime` only.
"""
