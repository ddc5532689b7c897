"""The default network by ONNX Runtime, numpy and Pillow alone, at any time between two of four frames.

tweenlet export default default.onnx --size 480p        once, where tweenlet is installed
python examples/onnx_without_tweenlet.py default.onnx OUT.png TIME BEFORE2 BEFORE AFTER AFTER2
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image

network, out, time, *paths = sys.argv[1:]
session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
inputs = {given.name: given for given in session.get_inputs()}
height, width = inputs["frames"].shape[-2:]  # fixed when it was exported

pictures = [np.asarray(Image.open(path).convert("RGB"), np.float32) / 255 for path in paths]
shape = pictures[0].shape[:2]
frames = np.stack([picture.transpose(2, 0, 1) for picture in pictures])[None]  # (1, 4, 3, H, W)
margins = ((0, 0), (0, 0), (0, 0), (0, height - shape[0]), (0, width - shape[1]))
frames = np.pad(frames, margins, "edge")

(frame,) = session.run(None, {"frames": frames, "time": np.array([time], np.float32)})
pixels = (frame[0, :, : shape[0], : shape[1]].transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)
Image.fromarray(pixels).save(out)
