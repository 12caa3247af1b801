"""A tiny set in CODA-LM's layout, made by hand, and ways to spoil it."""

import json

from PIL import Image

CATEGORIES = ["vehicles", "vulnerable_road_users", "traffic_signs", "traffic_lights", "traffic_cones", "barriers",
              "other_objects"]


def annotation():
    general = {name: [] for name in CATEGORIES}
    general["vehicles"] = [{"description": "A white van ahead.", "explanation": "It may brake."}]
    general["description and explanation"] = "A white van drives ahead. It may brake."
    return {
        "general_perception": general,
        "region_perception": {"1": {"description and explanation": "A traffic cone stands on the lane.",
                                    "box": [10, 20, 12, 16], "category_name": "traffic_cone"}},
        "driving_suggestion": "Slow down and keep a safe distance.",
    }


def make(folder, name="CODA", images=1):
    """{folder}/CODA with a Mini split of one or more annotations."""
    root = folder / name
    (root / "CODA-LM" / "Mini").mkdir(parents=True)
    (root / "val" / "images").mkdir(parents=True)
    for i in range(1, images + 1):
        Image.new("RGB", (64, 48), (90, 100, 110)).save(root / "val" / "images" / f"{i:04}.jpg")
        save(root, annotation(), i)
    return root


def annotation_file(root, i=1):
    return root / "CODA-LM" / "Mini" / f"val_{i:04}.json"


def save(root, value, i=1):
    annotation_file(root, i).write_text(json.dumps(value))


def spoilt(change):
    """An `arrange` that makes the set and then calls change(root, annotation)."""

    def arrange(folder):
        root = make(folder)
        value = annotation()
        change(root, value)
        save(root, value)

    return arrange


def truncated(folder):
    file = annotation_file(make(folder))
    file.write_text(file.read_text()[:100])


def without_image(folder):
    (make(folder) / "val" / "images" / "0001.jpg").unlink()


def with_truncated_image(folder):
    file = make(folder) / "val" / "images" / "0001.jpg"
    file.write_bytes(file.read_bytes()[:20])


def box_outside(root, value):
    value["region_perception"]["1"]["box"] = [60, 20, 30, 16]


def empty_box(root, value):
    value["region_perception"]["1"]["box"] = [10, 20, 0, 16]


def no_suggestion(root, value):
    del value["driving_suggestion"]


def full(path):
    """Makes every write to `path` meet a full disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/dev/full")
