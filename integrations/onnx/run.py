"""The frame between the middle two of four PNG files, by an exported network alone: no tweenlet needed.

tweenlet export default default.onnx --size 1280x720 --one-input      (the size of the files, or dynamic)
python run.py default.onnx 0.png 1.png 2.png 3.png middle.png
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
frames = [np.asarray(Image.open(path).convert("RGB"), np.float32) / 255 for path in sys.argv[2:6]]
height, width, _ = frames[0].shape
halfway = np.full((height, width), 0.5, np.float32)
planes = np.dstack([*frames, halfway]).transpose(2, 0, 1)[: session.get_inputs()[0].shape[1]]
planes = np.pad(planes, ((0, 0), (0, -height % 64), (0, -width % 64)), mode="edge")
middle = session.run(None, {"input": planes[None]})[0][0, :, :height, :width]
Image.fromarray((middle.transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)).save(sys.argv[6])
