import re

from clr_hpc.reporting.figures.layers import layers

NETWORK = {
    "input": [1, 64, 64],
    "parameters": 4_900,
    "layers": [
        {"name": "stem", "kind": "Conv 3×3, stride 2", "output": [32, 16, 16], "parameters": 288},
        {"name": "classifier", "kind": "Linear", "output": [1], "parameters": 65},
    ],
}


def test_every_layer_is_a_box_with_its_shape_and_parameters() -> None:
    svg = layers(NETWORK, "Small net").inline
    background, *boxes = re.findall(r'<path d="M ([\d.]+) ([\d.]+) L ([\d.]+) [\d.]+ L [\d.]+ ([\d.]+)', svg)
    heights = [float(lower) - float(upper) for _, lower, _, upper in boxes]
    widths = [float(right) - float(left) for left, _, right, _ in boxes]
    assert background[0] == "0"
    assert len(boxes) == 3
    # a quarter of the side is half as tall
    assert abs(heights[0] / heights[1] - 2) < 0.02
    assert widths[1] > widths[0]
    for text in (
        "Small net: 4,900 parameters",
        "Conv 3×3, stride 2",
        "32 × 16 × 16, 288 parameters",
        "1 × 64 × 64",
    ):
        assert text in svg
