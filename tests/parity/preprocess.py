"""Pixels of image files against Pillow with transformers' image processors: every value the same, for sizes, filters,
file formats, orientations and modes, and for anyres tiles. Then files that are broken or huge: an error naming the
file, in bounded memory."""

import json
import os
import pathlib
import resource
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib

import numpy as np
from PIL import Image, ImageOps
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

PROGRAM = pathlib.Path(os.environ["MOSE_BIN"]) / "preprocess_for_parity"
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
BOX, LANCZOS, BILINEAR, BICUBIC = 4, 1, 2, 3
RANDOM = np.random.default_rng(11)


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def picture(width, height, kind="photo"):
    """Smooth shapes with grain; or noise of extremes, where filters overshoot."""
    if kind == "extremes":
        return Image.fromarray(RANDOM.integers(0, 2, (height, width, 3), np.uint8) * 255)
    small = RANDOM.integers(0, 256, (height // 24 + 2, width // 24 + 2, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray(np.clip(smooth + RANDOM.integers(-25, 26, smooth.shape), 0, 255).astype(np.uint8))


def ours(config, files, pinpoints=None):
    """What the program makes of the files: arrays, or error texts."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        name = "processor_config.json" if "image_processor" in config else "preprocessor_config.json"
        (pathlib.Path(folder) / name).write_text(json.dumps(config))
        more = ["--anyres", json.dumps(pinpoints)] if pinpoints else []
        done = subprocess.run([PROGRAM, folder, out, *more, *map(str, files)], capture_output=True, text=True, check=False)
        check(done.returncode == 0, f"exit code {done.returncode}: {done.stderr}")
        values, results, at = np.fromfile(out, np.float32), [], 0
        for line in map(json.loads, done.stdout.splitlines()):
            if "error" in line:
                results.append(line["error"])
                continue
            size = int(np.prod(line["shape"]))
            results.append(values[at:at + size].reshape(line["shape"]))
            at += size
        check(at == len(values) and len(results) == len(files), "the program's output has another length")
        return results


class Tally:
    """One comparison: every value brought back to levels of 255 must be the reference's."""

    def __init__(self, name):
        self.name, self.images, self.count = name, 0, 0

    def add(self, mine, theirs, mean, std, what):
        check(not isinstance(mine, str), f"{self.name}: {what}: {mine}")
        check(mine.shape == theirs.shape, f"{self.name}: {what}: shape {mine.shape}, the reference's is {theirs.shape}")
        shape = (3, 1, 1)
        scale, shift = 255 * np.float64(std).reshape(shape), 255 * np.float64(mean).reshape(shape)
        levels = [np.rint(np.float64(values) * scale + shift) for values in (mine, theirs)]
        difference = np.abs(levels[0] - levels[1])
        self.images += 1
        self.count += difference.size
        check(difference.max() == 0, f"{self.name}: {what}: {(difference > 0).mean():.2%} of the values differ, "
                                     f"by up to {difference.max():.0f} levels")
        exact = np.abs(mine - theirs).max()
        check(exact < 2e-6, f"{self.name}: {what}: normalised values {exact:.1e} apart")

    def report(self):
        print(f"{self.name}: {self.images} images, {self.count} values, all identical")


SIZES = [(1, 1), (1, 40), (40, 1), (2, 3), (7, 5), (29, 30), (30, 29), (64, 64), (65, 63), (33, 200), (200, 33), (500, 9), (9, 500),
         (17, 1200), (1200, 17), (640, 360), (361, 641), (1280, 720), (333, 1001), (1000, 1000)]


def processors(size):
    mean_std = dict(image_mean=MEAN, image_std=STD)
    square = {"height": size, "width": size}
    for resample in (BILINEAR, BICUBIC, BOX, LANCZOS):
        yield f"clip, filter {resample}", CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=square, resample=resample)
        yield f"siglip, filter {resample}", SiglipImageProcessorPil(size=square, resample=resample)
        yield f"llava pad, filter {resample}", LlavaImageProcessorPil(
            size={"shortest_edge": size}, crop_size=square, resample=resample, do_pad=True)
    yield "clip, smaller crop", CLIPImageProcessorPil(size={"shortest_edge": size + 13}, crop_size=square, **mean_std)
    yield "clip, larger crop", CLIPImageProcessorPil(size={"shortest_edge": size - 13}, crop_size=square, **mean_std)
    yield "clip, wide crop", CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size - 9, "width": size + 20})
    yield "siglip, wide", SiglipImageProcessorPil(size={"height": size, "width": size + 51}, image_mean=[0.1, 0.5, 0.9])
    yield "clip, number as size", CLIPImageProcessorPil(size=size, crop_size=size)
    yield "clip, stretched", CLIPImageProcessorPil(size=square, crop_size=square)
    yield "llava without pad", LlavaImageProcessorPil(size={"shortest_edge": size}, crop_size=square)


def check_processors(folder):
    files = []
    for i, (width, height) in enumerate(SIZES):
        files.append(folder / f"{width}x{height}.png")
        picture(width, height, ["photo", "extremes"][i % 3 == 0]).save(files[-1], compress_level=1)
    for name, processor in processors(56):
        config = json.loads(processor.to_json_string())
        tally = Tally(name)
        for i, mine in enumerate(ours(config if "pad" in name else {"image_processor": config}, files)):
            theirs = processor(Image.open(files[i]), return_tensors="np")["pixel_values"][0]
            tally.add(mine, theirs, processor.image_mean, processor.image_std, files[i].name)
        tally.report()
        check_given_back(config, processor, files[-3:])


def check_given_back(config, processor, files):
    """The file that we write makes the same processor."""
    with tempfile.TemporaryDirectory() as name:
        (pathlib.Path(name) / "preprocessor_config.json").write_text(json.dumps(config))
        subprocess.run([PROGRAM, name, "save", name], check=True)
        written = json.loads((pathlib.Path(name) / "preprocessor_config.json").read_text())
    again = {"CLIPImageProcessor": CLIPImageProcessorPil, "SiglipImageProcessor": SiglipImageProcessorPil,
             "LlavaImageProcessor": LlavaImageProcessorPil}[written["image_processor_type"]](**written)
    for file in files:
        pixels = [p(Image.open(file), return_tensors="np")["pixel_values"] for p in (processor, again)]
        check(np.array_equal(*pixels), f"transformers makes other pixels of {written} than of {config}")


def check_enlarging(folder):
    """A frame larger than any picture, at LLaVA-1.5's size, and the smallest frame."""
    files = [folder / f"{width}x{height}.png" for width, height in ((7, 5), (64, 64), (1280, 720), (17, 1200))]
    for size in (336, 1):
        for pad in (False, True):
            processor = LlavaImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size}, do_pad=pad)
            tally = Tally(f"llava at {size}, {'pad' if pad else 'crop'}")
            for file, mine in zip(files, ours(json.loads(processor.to_json_string()), files)):
                theirs = processor(Image.open(file), return_tensors="np")["pixel_values"][0]
                tally.add(mine, theirs, MEAN, STD, file.name)
            tally.report()


def check_anyres(folder):
    files = [folder / f"{width}x{height}.png" for width, height in SIZES]
    pinpoints = [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
    for resample in (BILINEAR, BICUBIC):
        processor = LlavaNextImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56},
                                               image_grid_pinpoints=pinpoints, resample=resample)
        frame = SiglipImageProcessorPil(size={"height": 56, "width": 56}, image_mean=MEAN, image_std=STD, resample=resample)
        tally = Tally(f"anyres, filter {resample}")
        counts = set()
        for file, mine in zip(files, ours(json.loads(frame.to_json_string()), files, pinpoints)):
            theirs = processor(Image.open(file), return_tensors="np")["pixel_values"][0]
            tally.add(mine, theirs, MEAN, STD, file.name)
            counts.add(len(theirs))
        check(counts == {3, 4, 5}, f"anyres: numbers of frames {counts}; the sizes try only some")
        tally.report()


def check_formats(folder):
    """Every kind of file at its own size, so that only the decoder is compared; then with each EXIF orientation."""
    width, height = 187, 131
    rgb = picture(width, height)
    alpha = rgb.convert("RGBA")
    alpha.putalpha(Image.fromarray(RANDOM.integers(0, 256, (height, width), np.uint8)))
    palette = rgb.quantize(90)
    deep = RANDOM.integers(0, 65536, (height, width, 3)).astype(">u2")
    files = {}

    def save(name, image, **how):
        files[name] = folder / name
        image.save(files[name], **how)

    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        for quality in (20, 75, 97):
            for progressive in (False, True):
                save(f"{subsampling.replace(':', '')}_{quality}_{progressive}.jpg", rgb, quality=quality,
                     subsampling=subsampling, progressive=progressive)
    save("restart.jpg", rgb, restart_marker_blocks=5)
    save("grey.jpg", rgb.convert("L"))
    save("cmyk.jpg", rgb.convert("CMYK"), quality=92)
    files["optimised.jpg"] = folder / "optimised.jpg"
    rgb.save(files["optimised.jpg"], optimize=True, dpi=(7, 7), comment="x" * 3000, icc_profile=bytes(3000))
    save("grey.png", rgb.convert("L"))
    save("grey_alpha.png", rgb.convert("LA"))
    save("alpha.png", alpha)
    save("palette.png", palette)
    save("palette_one_transparent.png", palette, transparency=3)
    save("palette_alpha.png", palette, transparency=bytes(range(90)))
    save("grey_transparent.png", rgb.convert("L"), transparency=100)
    save("rgb_transparent.png", rgb, transparency=(10, 20, 30))
    save("palette_2_bits.png", rgb.quantize(4), bits=2)
    save("palette_4_bits.png", rgb.quantize(16), bits=4)
    save("bits.png", rgb.convert("1"))
    save("alpha.webp", alpha, quality=80)
    save("lossless.webp", alpha, lossless=True, exact=True)
    save("lossy.webp", rgb, quality=60)
    for name, image in {"rgb": rgb, "grey": rgb.convert("L"), "palette": palette, "bits": rgb.convert("1")}.items():
        save(f"{name}.bmp", image)
    for name, rows, colour in (("deep.png", deep, 2), ("deep_interlaced.png", deep, 2)):
        files[name] = folder / name
        files[name].write_bytes(png(width, height, 16, colour, rows.tobytes(), interlaced=name != "deep.png"))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for extension in ("jpg", "png", "webp"):
            save(f"orientation_{orientation}.{extension}", rgb, exif=exif, **({"lossless": True} if extension == "webp" else {}))

    def compare(tally, names):
        by_size = {}
        for name in names:
            image = ImageOps.exif_transpose(Image.open(files[name])).convert("RGB")
            by_size.setdefault(image.size, []).append((name, image))
        for (across, down), group in by_size.items():
            config = dict(size={"width": across, "height": down}, resample=3, image_mean=[0, 0, 0], image_std=[1, 1, 1])
            for (name, image), mine in zip(group, ours(config, [files[n] for n, _ in group])):
                tally.add(mine, np.float32(np.asarray(image).transpose(2, 0, 1) / 255), [0] * 3, [1] * 3, name)
        tally.report()

    compare(Tally("decoding"), list(files))
    # Pillow clips grey of 16 bits at 255; here the upper 8 bits are kept, as both do for colour.
    grey = deep[:, :, 0]
    (folder / "deep_grey.png").write_bytes(png(width, height, 16, 0, np.ascontiguousarray(grey).tobytes()))
    config = dict(size={"width": width, "height": height}, resample=3, image_mean=[0, 0, 0], image_std=[1, 1, 1])
    mine = ours(config, [folder / "deep_grey.png"])[0]
    check((np.rint(mine * 255) == (grey >> 8)).all(), "grey of 16 bits: not the upper 8 bits")


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, bits, colour, samples, interlaced=False):
    """A PNG of the given samples; Adam7 when interlaced, which is seven pictures of every n-th pixel."""
    size = bits // 8 * {0: 1, 2: 3}[colour]
    pixels = np.frombuffer(samples, np.uint8).reshape(height, width, size)
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    raw = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in pixels[y::dy, x::dx] if row.size)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def huge_jpeg(width, height, source):
    data = bytearray(source)
    at = data.index(b"\xff\xc0") if b"\xff\xc0" in data else data.index(b"\xff\xc2")
    data[at + 5:at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def check_broken(folder):
    rgb = picture(97, 61)
    whole = {}
    for name, how in {"a.jpg": {}, "progressive.jpg": {"progressive": True}, "a.png": {}, "a.webp": {}, "lossless.webp": {"lossless": True},
                      "a.bmp": {}}.items():
        rgb.save(folder / name, **how)
        whole[name] = (folder / name).read_bytes()
    jpeg = whole["a.jpg"]
    frame = jpeg[jpeg.index(b"\xff\xc0"):]
    frame = frame[:2 + struct.unpack(">H", frame[2:4])[0]]
    second = huge_jpeg(60000, 60000, frame)
    zeros = zlib.compress(bytes(1 << 20), 9)
    bad = {
        "empty.jpg": b"", "text.jpg": b"this is no picture\n" * 100, "magic.jpg": b"\xff\xd8\xff", "magic.png": b"\x89PNG\r\n\x1a\n",
        "magic.webp": b"RIFF\0\0\0\0WEBP", "magic.bmp": b"BM", "gif.jpg": b"GIF89a" + bytes(20),
        "huge.jpg": huge_jpeg(60000, 60000, jpeg), "huge_progressive.jpg": huge_jpeg(65500, 65500, whole["progressive.jpg"]),
        "flat.jpg": huge_jpeg(0, 61, jpeg),
        "two_frames.jpg": jpeg.replace(frame, second + frame), "late_frame.jpg": jpeg[:-2] + second + jpeg[-2:],
        "scans.jpg": whole["progressive.jpg"][:-2] + jpeg[jpeg.index(b"\xff\xda"):-2] * 600 + b"\xff\xd9",
    }
    for name, (width, height) in {"huge.png": (60000, 60000), "long.png": (1, 2_000_000), "flat.png": (0, 5),
                                  "negative.png": (2 ** 31, 2 ** 31)}.items():
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        bad[name] = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zeros) + chunk(b"IEND", b"")
    bmp = bytearray(whole["a.bmp"])
    bmp[18:26] = struct.pack("<ii", 60000, 60000)
    bad["huge.bmp"] = bytes(bmp)
    bmp[18:26] = struct.pack("<ii", -97, 61)
    bad["negative.bmp"] = bytes(bmp)
    for name, data in whole.items():
        for length in sorted({int(x) for x in np.linspace(1, len(data) - 1, 25)}):
            bad[f"{length}_bytes_of_{name}"] = data[:length]
    data = bytearray(jpeg)
    at = jpeg.index(b"\xff\xda") + 400
    data[at:at + 60] = bytes(60)
    bad["damaged.jpg"] = bytes(data)
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    sparse = folder / "gigabytes.jpg"
    with open(sparse, "wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(8 << 30)
    config = dict(size={"width": 8, "height": 8}, resample=3, image_mean=[0] * 3, image_std=[1] * 3)
    names = [*bad, "missing.jpg", ".", sparse.name]
    for name, result in zip(names, ours(config, [folder / n for n in names])):
        check(isinstance(result, str), f"{name}: no error")
        check(str(folder / name) in result, f"{name}: the error does not name it: {result}")
    # A picture of 99 megapixels that is only a header: no more memory than its pixels take.
    (folder / "grey_desert.jpg").write_bytes(huge_jpeg(9900, 10000, whole["progressive.jpg"]))
    ours(config, [folder / "grey_desert.jpg"])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    check(peak < 1300, f"memory peaked at {peak:.0f} MiB")
    print(f"broken and huge: {len(names)} files refused by name, memory peaked at {peak:.0f} MiB")


def check_extreme_aspect(folder):
    """A line of pixels padded to a square would be a canvas of 900 megapixels, which is never made."""
    Image.fromarray(RANDOM.integers(0, 256, (1, 30000, 3), np.uint8)).save(folder / "line.png")
    processor = LlavaImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}, do_pad=True)
    mine = ours(json.loads(processor.to_json_string()), [folder / "line.png"])[0]
    colour = (np.array([int(m * 255) for m in MEAN]) / 255 - MEAN) / STD
    check(np.abs(mine[:, 0, :] - colour[:, None]).max() < 1e-6, "padding of a line: not the mean colour")


def main():
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="mose_preprocess_") as name:
        folder = pathlib.Path(name)
        for test in (check_broken, check_processors, check_enlarging, check_anyres, check_formats, check_extreme_aspect):
            test(folder)
    print("preprocess: passed")


if __name__ == "__main__":
    main()
