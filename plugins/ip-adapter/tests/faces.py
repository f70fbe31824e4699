"""Writes small networks for the tests, in the places of those that find and tell apart faces, into models/, and what InsightFace
makes with them of pictures with a spot for a face into faces.safetensors; beside them a small adapter for faces, and its tokens.

    pip install numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 opencv-python-headless==5.0.0.93 scikit-image==0.26.0 safetensors==0.8.0
    pip install requests tqdm
    pip install --no-deps insightface==2.1
    faces.py
"""

import math
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.model_zoo.scrfd import SCRFD
from insightface.utils import face_align
from onnx import TensorProto as T
from onnx import checker, helper, numpy_helper
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parent
DETECTOR = "immich-app/buffalo_l/detection/model.onnx"
EMBEDDER = "immich-app/buffalo_l/recognition/model.onnx"


def write(name, nodes, inputs, outputs, weights):
    """`inputs` and `outputs` are (name, type, dims)."""
    info = lambda ports: [helper.make_tensor_value_info(*port) for port in ports]
    weights = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "test", info(inputs), info(outputs), weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    checker.check_model(model)
    path = HERE / "models" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return str(path)


def detector():
    """With the inputs and outputs of SCRFD: at three strides two anchors each with a likelihood, a box and five points. Likely
    is what is redder than all around it; the points lie the more askew the more green and the less blue there is."""
    red = np.float32([1, -0.5, -0.5])
    around = np.zeros((3, 3), np.float32)
    around[1, 1], around[[0, 1, 1, 2], [1, 0, 2, 1]] = 1, -0.25
    score = np.stack([6.0 * red[:, None, None] * around, 5.5 * red[:, None, None] * around])
    points = np.float32([[-1.6, -1.5], [1.7, -1.4], [0.1, 0.2], [-1.2, 1.6], [1.3, 1.7]])
    askew = np.float32([[0.3, -0.5], [0.2, 0.6], [0, 0.1], [-0.4, -0.3], [-0.3, 0.4]])
    random = np.random.default_rng(5)
    kps = np.zeros((20, 3, 1, 1), np.float32)
    kps[:, 1, 0, 0], kps[:, 2, 0, 0] = np.tile(askew.ravel(), 2), -np.tile(askew.ravel(), 2)
    kps[:, 0, 0, 0] = random.normal(0, 0.05, 20)
    box = random.normal(0, 0.1, (8, 3, 1, 1)).astype(np.float32)
    weights = {
        "score": score.astype(np.float32), "score_bias": np.float32([-2, -2]),
        "box": box, "box_bias": np.full(8, 2.5, np.float32),
        "kps": kps, "kps_bias": np.tile(points.ravel(), 2),
        "one": np.array([-1, 1], np.int64), "four": np.array([-1, 4], np.int64), "ten": np.array([-1, 10], np.int64),
    }
    nodes, outputs = [], {"score": [], "box": [], "kps": []}
    for stride in (8, 16, 32):
        pool = helper.make_node("AveragePool", ["input.1"], [f"pool{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2)
        nodes.append(pool)
        for kind, width, count in [("score", "one", 1), ("box", "four", 4), ("kps", "ten", 10)]:
            name = f"{kind}_{stride}"
            pads = [1] * 4 if kind == "score" else [0] * 4
            nodes += [
                helper.make_node("Conv", [f"pool{stride}", kind, f"{kind}_bias"], [f"{name}_map"], pads=pads),
                helper.make_node("Transpose", [f"{name}_map"], [f"{name}_last"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_last", width], [name if kind != "score" else f"{name}_raw"]),
            ]
            if kind == "score":
                nodes.append(helper.make_node("Sigmoid", [f"{name}_raw"], [name]))
            # As in the real file, which says of any picture what holds for 640x640.
            outputs[kind].append((name, T.FLOAT, [2 * (640 // stride) ** 2, count]))
    ports = outputs["score"] + outputs["box"] + outputs["kps"]
    return write(DETECTOR, nodes, [("input.1", T.FLOAT, [1, 3, "h", "w"])], ports, weights)


def embedder():
    random = np.random.default_rng(6)
    weight = random.normal(0, 1, (8, 3, 14, 14)).astype(np.float32) / 14
    nodes = [
        helper.make_node("Conv", ["input.1", "weight"], ["y"], strides=[14, 14]),
        helper.make_node("Tanh", ["y"], ["t"]),
        helper.make_node("Flatten", ["t"], ["683"]),
    ]
    return write(EMBEDDER, nodes, [("input.1", T.FLOAT, ["None", 3, 112, 112])], [("683", T.FLOAT, ["None", 512])], {"weight": weight})


def adapter():
    """As FaceID's are, with the LoRAs that come in their files and that nobody uses."""
    regular = load_file(HERE / "../../../models/test/ip-adapter-sd15-tiny/ip-adapter.safetensors")
    tensors = {name: value for name, value in regular.items() if name.startswith("ip_adapter.")}
    random = np.random.default_rng(7)
    normal = lambda *shape: random.normal(0, 1, shape).astype(np.float32)
    tensors |= {
        "image_proj.proj.0.weight": normal(16, 512), "image_proj.proj.0.bias": normal(16),
        "image_proj.proj.2.weight": normal(4 * 32, 16), "image_proj.proj.2.bias": normal(4 * 32),
        "image_proj.norm.weight": 1 + normal(32) / 4, "image_proj.norm.bias": normal(32) / 4,
    }
    for layer in range(32):
        for part, width in [("q", 32), ("out", 32)]:
            tensors[f"ip_adapter.{layer}.to_{part}_lora.down.weight"] = normal(2, width)
            tensors[f"ip_adapter.{layer}.to_{part}_lora.up.weight"] = normal(width, 2)
    path = HERE / "models/h94/IP-Adapter-FaceID/ip-adapter-faceid_sd15-tiny.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return {name: value.astype(np.float64) for name, value in tensors.items()}


def plus():
    """The part of a FaceID Plus adapter that makes tokens, for the image encoder among the test models."""
    random = np.random.default_rng(8)
    normal = lambda *shape: (random.normal(0, 1, shape) / math.sqrt(shape[-1])).astype(np.float32)
    ask = {
        "proj_in": (32, 32), "proj_out": (32, 32), "layers.0.0.to_q": (64, 32), "layers.0.0.to_kv": (128, 32),
        "layers.0.0.to_out": (32, 64), "layers.0.1.1": (64, 32), "layers.0.1.3": (32, 64),
    }
    tensors = {
        "proj.0.weight": 20 * normal(16, 512), "proj.0.bias": normal(16),
        "proj.2.weight": normal(4 * 32, 16), "proj.2.bias": normal(4 * 32),
    }
    tensors |= {f"perceiver_resampler.{name}.weight": normal(*shape) for name, shape in ask.items()}
    tensors |= {f"perceiver_resampler.{name}.bias": normal(32) for name in ("proj_in", "proj_out")}
    norms = ["norm", *(f"perceiver_resampler.{name}" for name in ("norm_out", "layers.0.0.norm1", "layers.0.0.norm2", "layers.0.1.0"))]
    for name in norms:
        tensors |= {f"{name}.weight": 1 + normal(32), f"{name}.bias": normal(32)}
    path = HERE / "models/h94/IP-Adapter-FaceID/ip-adapter-faceid-plusv2_sd15-tiny.safetensors"
    save_file({f"image_proj.{name}": value for name, value in tensors.items()}, path)


def tokens(tensors, embedding):
    of = lambda name: tensors[f"image_proj.{name}"]
    hidden = of("proj.0.weight") @ embedding.astype(np.float64) + of("proj.0.bias")
    hidden = np.array([x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in hidden])
    made = (of("proj.2.weight") @ hidden + of("proj.2.bias")).reshape(1, 4, 32)
    made = (made - made.mean(-1, keepdims=True)) / np.sqrt(made.var(-1, keepdims=True) + 1e-5)
    return (made * of("norm.weight") + of("norm.bias")).astype(np.float32)


def spotted(width, height, spots):
    """Waves in gray, and spots (x, y, size, strength, green, blue)."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    gray = 110 + 40 * np.sin(x / 9) * np.cos(y / 13) + 20 * np.sin((x + 2 * y) / 31)
    picture = np.stack([gray] * 3, -1)
    for at, down, size, strength, green, blue in spots:
        share = np.exp(-((x - at) ** 2 + (y - down) ** 2) / (2 * size**2))[..., None] * strength
        picture = (1 - share) * picture + share * np.float64([250, green, blue])
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)


def main():
    scrfd = SCRFD(model_file=detector())
    arcface = ArcFaceONNX(model_file=embedder())
    pictures = {
        # Two faces, the first of which is the surer one.
        "wide": spotted(300, 180, [(190, 70, 9, 1, 90, 20), (60, 120, 8, 0.8, 10, 60)]),
        "tall": spotted(150, 333, [(75, 200, 6, 0.9, 30, 110)]),
        # So large that it is a face in a smaller picture only.
        "near": spotted(256, 256, [(120, 150, 30, 1, 20, 70)]),
        "nobody": spotted(200, 160, []),
    }
    faceid = adapter()
    plus()
    record = {"nothing_tokens": tokens(faceid, np.zeros(512))}
    for name, picture in pictures.items():
        record[name] = picture
        bgr = np.ascontiguousarray(picture[..., ::-1])
        for side in range(640, 255, -64):
            boxes, points = scrfd.detect(bgr, input_size=(side, side))
            if len(boxes):
                break
        if not len(boxes):
            continue
        face = SimpleNamespace(kps=points[0])
        embedding = arcface.get(bgr, face)
        embedding = embedding / np.linalg.norm(embedding)
        record |= {f"{name}_side": np.int32([side]), f"{name}_points": points[0].astype(np.float32),
                   f"{name}_crop": np.ascontiguousarray(face_align.norm_crop(bgr, points[0])[..., ::-1]),
                   f"{name}_embedding": embedding.astype(np.float32), f"{name}_tokens": tokens(faceid, embedding)}
        print(name, side, len(boxes), boxes[:2].tolist(), points[0].tolist())
    assert "nobody_side" not in record
    save_file({name: np.ascontiguousarray(value) for name, value in record.items()}, HERE / "faces.safetensors")


main()
