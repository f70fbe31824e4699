"""Writes small networks for the tests, in the places of the real ones, into models/, and what OpenCV, SciPy and ONNX
Runtime make with them into neural.safetensors.

    pip install numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 opencv-python-headless==5.0.0.93 scipy==1.17.1 safetensors==0.8.0 pillow==13.0.0
    models.py
"""

import math
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from onnx import TensorProto as T
from onnx import checker, helper, numpy_helper
from PIL import Image
from safetensors.numpy import load_file, save_file
from scipy.ndimage import gaussian_filter

HERE = Path(__file__).parent
MODELS = HERE / "models"


def write(name, nodes, inputs, outputs, weights):
    """`inputs` and `outputs` are (name, type, dims)."""
    info = lambda ports: [helper.make_tensor_value_info(*port) for port in ports]
    weights = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "test", info(inputs), info(outputs), weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    checker.check_model(model)
    path = MODELS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def run(name, *inputs):
    session = onnxruntime.InferenceSession(MODELS / name, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs)))


def kernel(outputs, side, seed, bias=0.0):
    random = np.random.default_rng(seed)
    weight = random.normal(0, 1, (outputs, 3, side, side)).astype(np.float32) / (3 * side * side) ** 0.5
    return weight, np.full(outputs, bias, np.float32)


def conv(weight, bias, **attributes):
    side = weight.shape[-1]
    attributes = {"pads": [side // 2] * 4, **attributes}
    return helper.make_node("Conv", ["x", "weight", "bias"], ["y"], **attributes)


def constants(name, inputs, values):
    """Gives the same whatever it is shown; a sum of nothing keeps the inputs in use."""
    nodes = []
    for index, (port, type_, _) in enumerate(inputs):
        nodes.append(helper.make_node("Cast", [port], [f"f{index}"], to=T.FLOAT))
        nodes.append(helper.make_node("ReduceMean", [f"f{index}"], [f"m{index}"], keepdims=0))
        nodes.append(helper.make_node("Mul", [f"m{index}", "nothing"], [f"n{index}"]))
    weights, outputs = {"nothing": np.float32(0)}, []
    for output, value in values.items():
        type_ = {np.float32: T.FLOAT, np.int64: T.INT64}[value.dtype.type]
        weights[f"{output}_value"] = value
        if type_ == T.FLOAT:
            nodes.append(helper.make_node("Add", [f"{output}_value", "n0"], [output]))
        else:
            nodes.append(helper.make_node("Identity", [f"{output}_value"], [output]))
        outputs.append((output, type_, list(value.shape)))
    write(name, nodes, inputs, outputs, weights)


# --- What is recorded --------------------------------------------------------------------------------------------------

def planar(rgb):
    return np.ascontiguousarray(rgb.astype(np.float32).transpose(2, 0, 1)[None])


def filtered(name, outputs=1, side=3, seed=1, extra=(), last="y", output_dims=("one", 1, "h", "w"), type_=T.FLOAT, bias=0.0):
    weight, bias = kernel(outputs, side, seed, bias)
    nodes = [conv(weight, bias), *extra]
    write(name, nodes, [("x", type_, ["one", 3, "h", "w"])], [(last, type_, output_dims)], {"weight": weight, "bias": bias})


def depth(picture, record):
    squeeze = helper.make_node("Squeeze", ["y", "axes"], ["depth"])
    for name, seed, size, mean, deviation in [
        ("Xenova/dpt-hybrid-midas/onnx/model.onnx", 3, (384, 384), [0.5] * 3, [0.5] * 3),
        ("onnx-community/depth-anything-v2-small/onnx/model.onnx", 4, None, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]:
        weight, bias = kernel(1, 3, seed)
        axes = np.array([1], np.int64)
        write(
            name,
            # The number of channels is open, as in exports of Optimum; nobody asked for the first output.
            [conv(weight, bias), squeeze, helper.make_node("Greater", ["depth", "far"], ["mask"])],
            [("x", T.FLOAT, ["one", "channels", "h", "w"])],
            [("mask", T.BOOL, ["one", "h", "w"]), ("depth", T.FLOAT, ["one", "h", "w"])],
            {"weight": weight, "bias": bias, "axes": axes, "far": np.float32(0)},
        )
        height, width = picture.shape[:2]
        if size is None:
            scale = 140 / min(width, height)
            size = tuple(max(1, round(side * scale / 14)) * 14 for side in (width, height))
        seen = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        seen = (seen.astype(np.float32) / 255 - np.float32(mean)) / np.float32(deviation)
        raw = run(name, planar(seen))[1][0]
        spread = (raw - raw.min()) / (raw.max() - raw.min())
        spread = cv2.resize(spread, (width, height), interpolation=cv2.INTER_LINEAR)
        record["depth" if size == (384, 384) else "depth_tensorrt"] = (spread * 255).astype(np.uint8)


def lineart(picture, record):
    name = "rocca/informative-drawings-line-art-onnx/model.onnx"
    filtered(name, seed=5, extra=[helper.make_node("Sigmoid", ["y"], ["line"])], last="line")
    height, width = picture.shape[:2]
    scale = 128 / min(width, height)
    size = tuple(max(1, round(side * scale / 64)) * 64 for side in (width, height))
    # Shrinking is compared by itself; here the picture is shown as it is seen.
    assert size == (width, height)
    line = run(name, planar(picture) / 255)[0][0, 0]
    record["lineart"] = (255 * (1 - np.clip(line, 0, 1))).astype(np.uint8)


def segmentation(picture, record):
    name = "onnx-community/mediapipe_selfie_segmentation/onnx/model.onnx"
    weight = np.array([4, 0, -4], np.float32).reshape(1, 3, 1, 1)
    write(
        name,
        [conv(weight, np.zeros(1, np.float32)), helper.make_node("Sigmoid", ["y"], ["alphas"])],
        [("x", T.FLOAT, ["one", 3, 64, 96])],
        [("alphas", T.FLOAT, ["one", 1, 64, 96])],
        {"weight": weight, "bias": np.zeros(1, np.float32)},
    )
    # Of a picture of the network's size, so that its resizing is compared elsewhere.
    seen = picture[:64, :96]
    alpha = run(name, planar(seen) / 255)[0][0, 0]
    record["segmentation_picture"] = seen.copy()
    record["segmentation"] = np.where(alpha > 0.5, 255, 0).astype(np.uint8)
    inside = cv2.GaussianBlur(alpha, (7, 7), 0) > 0.52
    record["segmentation_background"] = np.where(inside[:, :, None], seen, np.uint8([1, 2, 3]))


def upscaler(picture, record):
    for name, scale, seed in [
        ("tidus2102/Real-ESRGAN/Real-ESRGAN_x2plus.onnx", 2, 6),
        ("Heliosoph/realesrgan-onnx/realesr-general-x4v3.onnx", 4, 7),
    ]:
        weight, bias = kernel(3 * scale * scale, 5, seed, 0.5)
        shuffle = helper.make_node("DepthToSpace", ["y"], ["large"], blocksize=scale, mode="CRD")
        write(
            name,
            [conv(weight, bias), shuffle],
            [("x", T.FLOAT, ["one", 3, "h", "w"])],
            [("large", T.FLOAT, ["one", 3, "H", "W"])],
            {"weight": weight, "bias": bias},
        )
        seen = picture if scale == 2 else picture[:48, :64]
        large = run(name, planar(seen) / 255)[0][0].transpose(1, 2, 0)
        record[f"x{scale}"] = np.rint(np.clip(large, 0, 1) * 255).astype(np.uint8)


def safety(picture, record):
    """The redder and the less blue the less neutral, and somewhat by what is in each patch."""
    name = "spiele/nsfw_image_detector-ONNX/onnx/model.onnx"
    random = np.random.default_rng(11)
    weight = random.normal(0, 1, (4, 3, 14, 14)).astype(np.float32) / 2
    nodes = [
        helper.make_node("Conv", ["pixel_values", "weight"], ["y"], strides=[14, 14]),
        helper.make_node("Tanh", ["y"], ["t"]),
        helper.make_node("GlobalAveragePool", ["t"], ["g"]),
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["colour"]),
        helper.make_node("Flatten", ["g"], ["patches"]),
        helper.make_node("Flatten", ["colour"], ["mean"]),
        helper.make_node("Gemm", ["mean", "red", "bias"], ["levels"]),
        helper.make_node("Add", ["levels", "patches"], ["logits"]),
    ]
    red = np.zeros((3, 4), np.float32)
    red[0], red[2] = [-1, 0.5, 0.7, 0.4], [1, -0.4, -0.3, -0.6]
    size = ["batch_size", "num_channels", "height", "width"]
    write(name, nodes, [("pixel_values", T.FLOAT, size)], [("logits", T.FLOAT, ["batch_size", 4])],
          {"weight": weight, "red": red, "bias": np.float32([0.9, 0, 0, 0])})
    mean, deviation = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

    def probability(rgb, filter=Image.Resampling.BICUBIC):
        seen = np.asarray(Image.fromarray(rgb).resize((448, 448), filter))
        seen = (seen.astype(np.float32) / 255 - np.float32(mean)) / np.float32(deviation)
        scores = run(name, planar(seen))[0][0].astype(np.float64)
        weights = np.exp(scores - scores.max())
        return 1 - weights[0] / weights.sum()

    probabilities = [probability(rgb) for rgb in (picture, 255 - picture)]
    # What is recorded shows how pictures are made smaller, too.
    assert abs(probabilities[0] - probability(picture, Image.Resampling.BILINEAR)) > 2e-4
    record["safety"] = np.float32(probabilities)


def flow_to_image(across, down):
    """torchvision's."""
    wheel, at = np.zeros((55, 3)), 0
    for count, fixed, moving, grows in [(15, 0, 1, 1), (6, 1, 0, 0), (4, 1, 2, 1), (11, 2, 1, 0), (13, 2, 0, 1), (6, 0, 2, 0)]:
        steps = np.floor(255 * np.arange(count) / count)
        wheel[at : at + count, fixed] = 255
        wheel[at : at + count, moving] = steps if grows else 255 - steps
        at += count
    far = np.hypot(across, down).astype(np.float64)
    x, y = across / (far.max() + 1.2e-7), down / (far.max() + 1.2e-7)
    place = (np.arctan2(-y, -x) / np.pi + 1) / 2 * 54
    here = np.floor(place).astype(int)
    share = (place - here)[..., None]
    colour = (1 - share) * wheel[here] / 255 + share * wheel[(here + 1) % 55] / 255
    return np.floor(255 * (1 - np.hypot(x, y)[..., None] * (1 - colour))).astype(np.uint8)


def flow(record):
    name = "opencv/optical_flow_estimation_raft/optical_flow_estimation_raft_2023aug.onnx"
    inputs = [(port, T.FLOAT, [1, 3, 36, 48]) for port in ("0", "1")]
    shift = np.zeros((1, 2, 36, 48), np.float32)
    shift[:, 0], shift[:, 1] = 4, -3
    constants(name, inputs, {"coarse": np.zeros((1, 2, 4, 6), np.float32), "fine": shift})
    random = np.random.default_rng(11)
    across, down = (gaussian_filter(random.normal(0, 60, (36, 48)), 6).astype(np.float32) for _ in "xy")
    last = random.integers(0, 256, (36, 48, 3), np.uint8)
    rows, columns = np.mgrid[:36, :48].astype(np.float32)
    # By itself in double precision: OpenCV's remap rounds places to 1/32.
    def sample(strength):
        x = np.clip(columns + strength * across, 0, 47).astype(np.float64)
        y = np.clip(rows + strength * down, 0, 35).astype(np.float64)
        x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
        x1, y1 = np.minimum(x0 + 1, 47), np.minimum(y0 + 1, 35)
        dx, dy = (x - x0)[..., None], (y - y0)[..., None]
        upper = last[y0, x0] * (1 - dx) + last[y0, x1] * dx
        lower = last[y1, x0] * (1 - dx) + last[y1, x1] * dx
        return np.rint(upper * (1 - dy) + lower * dy).astype(np.uint8)
    record["flow_colours"] = flow_to_image(across, down)
    record |= {"flow_across": across, "flow_down": down, "flow_last": last, "warped": sample(1), "warped_half": sample(0.5)}


# --- People ------------------------------------------------------------------------------------------------------------

LIMBS = [(1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
         (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17)]
PLANES = [12, 20, 14, 16, 22, 24, 0, 2, 4, 6, 8, 10, 28, 30, 34, 32, 36, 18, 26]
COLOURS = [(255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
           (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255),
           (255, 0, 255), (255, 0, 170), (255, 0, 85)]

# In a square of 100: a person who waves.
PERSON = np.array([(50, 20), (50, 32), (40, 32), (32, 44), (28, 57), (60, 32), (68, 24), (74, 12), (44, 56), (43, 74), (42, 92),
                   (56, 56), (57, 74), (58, 92), (47, 17), (53, 17), (44, 19), (56, 19)], np.float64)


def drawn(size, people):
    """As `controlnet_aux` draws them."""
    width, height = size
    canvas = np.zeros((height, width, 3), np.uint8)
    for person in people:
        for (a, b), colour in zip(LIMBS[:17], COLOURS):
            if person[a] is None or person[b] is None:
                continue
            (ax, ay), (bx, by) = person[a], person[b]
            length = math.hypot(ax - bx, ay - by)
            angle = math.degrees(math.atan2(ay - by, ax - bx))
            center = int((ax + bx) / 2), int((ay + by) / 2)
            polygon = cv2.ellipse2Poly(center, (int(length / 2), 4), int(angle), 0, 360, 1)
            cv2.fillConvexPoly(canvas, polygon, [int(level * 0.6) for level in colour])
        for joint, colour in zip(person, COLOURS):
            if joint is not None:
                cv2.circle(canvas, (int(joint[0]), int(joint[1])), 4, colour, thickness=-1)
    # The number of each colour: nothing, limbs, joints.
    palette = [(0, 0, 0), *([int(level * 0.6) for level in colour] for colour in COLOURS), *COLOURS]
    numbers = np.zeros((height, width), np.uint8)
    for number, colour in enumerate(palette):
        numbers[(canvas == colour).all(axis=2)] = number
    return numbers


def fields(people, width, height):
    """Likelihoods and directions of people whose joints are in pixels of the planes."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    likely = np.zeros((19, height, width))
    ways = np.zeros((38, height, width))
    for person in people:
        for part, joint in enumerate(person):
            if joint is not None:
                bell = np.exp(-((columns - joint[0]) ** 2 + (rows - joint[1]) ** 2) / (2 * 0.9**2))
                likely[part] = np.maximum(likely[part], bell)
        for (a, b), plane in zip(LIMBS, PLANES):
            if person[a] is None or person[b] is None:
                continue
            start, end = np.array(person[a]), np.array(person[b])
            length = max(np.hypot(*(end - start)), 1e-3)
            way = (end - start) / length
            right, down = columns - start[0], rows - start[1]
            along, beside = right * way[0] + down * way[1], abs(right * way[1] - down * way[0])
            inside = (along >= -0.7) & (along <= length + 0.7) & (beside <= 1.0)
            ways[plane][inside], ways[plane + 1][inside] = way
    likely[18] = 1 - likely[:18].max(axis=0)
    return likely.astype(np.float32), ways.astype(np.float32)


def openpose(record):
    # The network sees 184 pixels, gives a number for each 8x8, of a picture of 512.
    people = [PERSON * [0.55, 0.9] * 5.12 - [10, 0], PERSON * [0.55, 0.9] * 5.12 + [225, 30]]
    likely, ways = fields([(person + 0.5) * 184 / 512 / 8 - 0.5 for person in people], 23, 23)
    constants(
        "divamgupta/controlnet_tensorflow/body_pose_model.onnx",
        [("x", T.FLOAT, ["one", 3, "h", "w"])],
        {"ways": ways[None], "likely": likely[None]},
    )
    record["people"] = np.array(people, np.float32)
    record["people_drawn"] = drawn((512, 512), people)
    some = [tuple(joint) for joint in people[0]]
    some[4] = some[9] = some[17] = None
    record["some_drawn"] = drawn((512, 512), [some])
    # Two of whom one has three parts alone, and one without a shoulder, at the size of the likelihoods.
    three = [tuple(joint) if part in (2, 3, 4) else None for part, joint in enumerate(PERSON * 0.4 + [90, 5])]
    without = [tuple(joint) if part != 5 else None for part, joint in enumerate(PERSON * 0.9)]
    likely, ways = fields([without, three], 140, 100)
    whole = lambda shares: np.rint(shares * 127).astype(np.int8)
    record |= {"likely": whole(likely), "ways": whole(ways)}


COCO = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]


def yolo(record):
    """Of a network for pictures of 640, in a picture of 512; the neck is between the shoulders."""
    joints = PERSON[COCO] * 6.4
    certain = np.full((17, 1), 0.9)
    certain[10] = 0.3
    person = np.concatenate([joints, certain], axis=1).astype(np.float32)
    none = np.zeros((3, 17, 3), np.float32)
    all_ = np.concatenate([person[None], none])[None]
    constants(
        "yuvraj108c/yolo-nas-pose-onnx/yolo_nas_pose_l_0.5.onnx",
        [("input", T.UINT8, [1, 3, 640, 640])],
        {
            "graph2_num_predictions": np.array([[1]], np.int64),
            "graph2_pred_boxes": np.zeros((1, 4, 4), np.float32),
            "graph2_pred_scores": np.zeros((1, 4), np.float32),
            "graph2_pred_joints": all_,
        },
    )
    skeleton = [tuple(joint * 5.12) for joint in PERSON]
    skeleton[1] = tuple((PERSON[2] + PERSON[5]) / 2 * 5.12)
    skeleton[4] = None
    record["yolo_drawn"] = drawn((512, 512), [skeleton])


def mediapipe(record):
    """A person who leans by 30 degrees to the right, in a picture of 448x448."""
    lean = math.radians(30)
    hips, radius = np.array([230.0, 250.0]), 150.0
    above = hips + radius * np.array([math.sin(lean), -math.cos(lean)])
    boxes = np.zeros((1, 2254, 12), np.float32)
    scores = np.full((1, 2254, 1), -5, np.float32)
    # The second anchor of a place in the middle grid.
    row, column = 8, 7
    index = 28 * 28 * 2 + (row * 14 + column) * 2 + 1
    anchor = (np.array([column, row]) + 0.5) / 14
    for at, place in enumerate([hips, above]):
        boxes[0, index, 4 + 2 * at : 6 + 2 * at] = (place / 448 - anchor) * 224
    scores[0, index] = 2
    constants(
        "opencv/person_detection_mediapipe/person_detection_mediapipe_2023mar.onnx",
        [("input", T.FLOAT, [1, 3, 224, 224])],
        {"boxes": boxes, "scores": scores},
    )
    # Upright in the square, on which the landmarks say that it is where it was.
    side = 2 * 1.25 * radius
    landmarks = np.zeros((39, 5), np.float32)
    landmarks[:, 3] = 4
    of_skeleton = [0, None, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7]
    for joint, at in enumerate(of_skeleton):
        if at is not None:
            landmarks[at, :2] = PERSON[joint] * 2.56
    landmarks[16, 3] = -4
    landmarks[33, :2] = 128, 128
    landmarks[34, :2] = 128, 128 - radius / side * 256
    constants(
        "opencv/pose_estimation_mediapipe/pose_estimation_mediapipe_2023mar.onnx",
        [("input", T.FLOAT, [1, 256, 256, 3])],
        {
            "landmarks": landmarks.reshape(1, 195),
            "conf": np.array([[0.9]], np.float32),
            "mask": np.zeros((1, 64, 64, 1), np.float32),
        },
    )
    turn = np.array([[math.cos(lean), -math.sin(lean)], [math.sin(lean), math.cos(lean)]])
    places = [hips + turn @ ((joint / 100 - 0.5) * side) for joint in PERSON]
    places[1] = (places[2] + places[5]) / 2
    record["mediapipe_people"] = np.array([places], np.float32)
    skeleton = [tuple(place) for place in places]
    skeleton[4] = None
    record["mediapipe_drawn"] = drawn((448, 448), [skeleton])


# --- HED ---------------------------------------------------------------------------------------------------------------

BLOCKS = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]


def block_of(name):
    return int(name.removeprefix("block")[0])


def hed_params():
    """The network's parameters in order, of numbers that are easily made again; the test does."""
    shapes, inputs = [("norm", (1, 3, 1, 1))], 3
    for block, (channels, count) in enumerate(BLOCKS, 1):
        for index in range(count):
            name = f"block{block}.convs.{index}"
            shapes += [(f"{name}.weight", (channels, inputs, 3, 3)), (f"{name}.bias", (channels,))]
            inputs = channels
        name = f"block{block}.projection"
        shapes += [(f"{name}.weight", (1, channels, 1, 1)), (f"{name}.bias", (1,))]
    for seed, (name, shape) in enumerate(shapes):
        count = math.prod(shape)
        places = np.arange(count, dtype=np.uint64)
        # The upper bits of a hash, from -1 to 1.
        mixed = ((places + np.uint64(seed * 1_000_003)) * np.uint64(2_654_435_761)) % np.uint64(1 << 32)
        values = (mixed.astype(np.float64) / (1 << 31) - 1).astype(np.float32)
        fan = math.prod(shape[1:]) if len(shape) > 1 else 1
        scale = {"norm": 100.0, "weight": (3 / fan) ** 0.5 * 1.4, "bias": 0.1}[name.split(".")[-1]]
        if "projection.weight" in name:
            scale = 2 / fan**0.5 / (20 if block_of(name) == 1 else 1)
        yield name, (values * np.float32(scale)).reshape(shape)


def convolve(x, weight, bias):
    side = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (side // 2,) * 2, (side // 2,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (1, 2))
    return np.einsum("chwij,ocij->ohw", windows, weight, optimize=True) + bias[:, None, None]


def hed(picture, record):
    params = dict(hed_params())
    seen = picture[:64, :128]
    x = seen.astype(np.float64).transpose(2, 0, 1) - params["norm"][0]
    edges = []
    for block, (_, count) in enumerate(BLOCKS, 1):
        if block > 1:
            c, h, w = x.shape
            x = x.reshape(c, h // 2, 2, w // 2, 2).max(axis=(2, 4))
        for index in range(count):
            name = f"block{block}.convs.{index}"
            x = np.maximum(convolve(x, params[f"{name}.weight"], params[f"{name}.bias"]), 0)
        name = f"block{block}.projection"
        edges.append(convolve(x, params[f"{name}.weight"], params[f"{name}.bias"])[0].astype(np.float32))
    size = (seen.shape[1], seen.shape[0])
    mean = np.mean([cv2.resize(edge, size, interpolation=cv2.INTER_LINEAR) for edge in edges], axis=0)
    edge = 1 / (1 + np.exp(-mean.astype(np.float64)))
    record["hed_picture"] = seen.copy()
    record["hed"] = (edge * 255).clip(0, 255).astype(np.uint8)
    safe = (edge * 3).astype(np.int32) / 2
    record["hed_safe"] = (safe * 255).clip(0, 255).astype(np.uint8)
    print("hed", [float(abs(e).mean()) for e in edges], edge.min(), edge.max())


# --- Planes ------------------------------------------------------------------------------------------------------------

def planes(record):
    plane = np.random.default_rng(12).normal(0, 1, (13, 19)).astype(np.float32)
    record |= {
        "plane": plane,
        "plane_linear": cv2.resize(plane, (31, 8), interpolation=cv2.INTER_LINEAR),
        "plane_cubic": cv2.resize(plane, (31, 40), interpolation=cv2.INTER_CUBIC),
        "plane_smoothed_3": cv2.GaussianBlur(plane, (7, 7), 0),
        "plane_smoothed_6": cv2.GaussianBlur(plane, (13, 13), 0),
        "plane_blurred": gaussian_filter(plane, 1.3, mode="reflect"),
    }


# --- What is no network for any of them --------------------------------------------------------------------------------

def hostile():
    size = [("x", T.FLOAT, ["one", 3, "h", "w"])]
    weight, bias = kernel(1, 3, 1)
    weights = {"weight": weight, "bias": bias}
    one = ("y", T.FLOAT, ["one", 1, "h", "w"])
    write("hostile/vector.onnx", [helper.make_node("Identity", ["x"], ["y"])], [("x", T.FLOAT, ["n"])], [("y", T.FLOAT, ["n"])], {})
    write("hostile/double.onnx", [helper.make_node("Identity", ["x"], ["y"])], [("x", T.DOUBLE, [1, 3, 8, 8])], [("y", T.DOUBLE, [1, 3, 8, 8])], {})
    nan = [conv(weight, bias), helper.make_node("Log", ["y"], ["z"])]
    write("hostile/nan.onnx", nan, size, [("z", T.FLOAT, ["one", 1, "h", "w"])], weights)
    huge = helper.make_node("Identity", ["x"], ["y"])
    write("hostile/huge.onnx", [huge], [("x", T.FLOAT, [1, 3, 1 << 20, 1 << 20])], [("y", T.FLOAT, [1, 3, 1 << 20, 1 << 20])], {})
    flat = [conv(weight, bias), helper.make_node("Flatten", ["y"], ["z"])]
    write("hostile/flat.onnx", flat, size, [("z", T.FLOAT, ["one", "n"])], weights)
    two = [conv(weight, bias), helper.make_node("Add", ["y", "other"], ["z"])]
    write("hostile/two_inputs.onnx", two, [*size, ("other", T.FLOAT, [1])], [("z", T.FLOAT, ["one", 1, "h", "w"])], weights)
    empty = [conv(weight, bias), helper.make_node("Slice", ["y", "zero", "zero", "last"], ["z"])]
    write("hostile/empty.onnx", empty, size, [("z", T.FLOAT, ["one", 1, "h", "n"])],
          {**weights, "zero": np.array([0], np.int64), "last": np.array([3], np.int64)})
    # Nobody is in the picture: no rows of 57 numbers.
    nobody = [helper.make_node("Cast", ["input"], ["f"], to=T.FLOAT), helper.make_node("Reshape", ["f", "rows"], ["r"]),
              helper.make_node("Slice", ["r", "zero", "zero", "first"], ["none"])]
    write("hostile/nobody.onnx", nobody, [("input", T.UINT8, [1, 3, 57, 8])], [("none", T.FLOAT, ["n", 57])],
          {"rows": np.array([-1, 57], np.int64), "zero": np.array([0], np.int64), "first": np.array([0], np.int64)})
    assert run("hostile/nobody.onnx", np.zeros((1, 3, 57, 8), np.uint8))[0].shape == (0, 57)


def flows():
    """The first picture's levels, from -1 to 1, times four are how far it came; in the second file some are no numbers."""
    inputs = [(name, T.FLOAT, ["one", 3, "h", "w"]) for name in ("frame1", "frame2")]
    shape = ["one", 2, "h", "w"]
    nodes = [
        helper.make_node("Slice", ["frame1", "zero", "two", "axis"], ["a"]),
        helper.make_node("Slice", ["frame2", "zero", "two", "axis"], ["b"]),
        helper.make_node("Mul", ["b", "nothing"], ["c"]),
        helper.make_node("Add", ["a", "c"], ["d"]),
        helper.make_node("Mul", ["d", "four"], ["flow"]),
    ]
    weights = {"zero": np.array([0], np.int64), "two": np.array([2], np.int64), "axis": np.array([1], np.int64),
               "nothing": np.float32(0), "four": np.float32(4)}
    write("hostile/torchvision_flow.onnx", nodes, inputs, [("flow", T.FLOAT, shape)], weights)
    nan = [*nodes[:-1], helper.make_node("Sqrt", ["d"], ["flow"])]
    write("hostile/nan_flow.onnx", nan, inputs, [("flow", T.FLOAT, shape)], weights)


def main():
    picture = load_file(HERE / "golden.safetensors")["picture"]
    picture = np.ascontiguousarray(cv2.resize(picture, (192, 128), interpolation=cv2.INTER_AREA))
    record = {"picture": picture}
    depth(picture, record)
    lineart(picture, record)
    segmentation(picture, record)
    upscaler(picture, record)
    flow(record)
    openpose(record)
    yolo(record)
    mediapipe(record)
    hed(picture, record)
    safety(picture, record)
    planes(record)
    hostile()
    flows()
    save_file({name: np.ascontiguousarray(value) for name, value in record.items()}, HERE / "neural.safetensors")


main()
