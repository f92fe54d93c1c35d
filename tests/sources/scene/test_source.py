"""The generated scene: its pictures, its truth, its address and its clock."""

import hashlib
import multiprocessing
import time
from fractions import Fraction
from io import BytesIO

import av
import cv2
import numpy as np
import pytest

from streamseg.errors import ConfigError, EndOfStreamError, SourceError
from streamseg.sources.scene.code import draw_frame_code
from streamseg.sources.scene.source import Scene, SceneSource, SceneSpec, read_frame_code

PRESETS = ("default", "leave", "crossing", "simple")
SMALL = "size=320x180"


def digest(address: str, frames: tuple[int, ...]) -> str:
    scene = Scene(address)
    total = hashlib.sha256()
    for n in frames:
        total.update(scene.render(n).tobytes())
        for mask in scene.truth(n).values():
            total.update(np.packbits(mask).tobytes())
    return total.hexdigest()


# Every machine must draw these bytes: other projects' truth depends on them. To change the scene's looks on
# purpose puts the new digests here and says so in the change log.
GOLDEN = {
    "default": "d6811f6f53f253ca9d11626d9ee2662194d20c84bcb61d3a75650defd9cef387",
    "leave": "f2b36a4656c3a1b55ca4b9c3844f50b381a39ea7b196190b64c0c2a5eb004662",
    "crossing": "9e0aa48e5376020b8d684c3e4f70a219fd09ebde485b2c7f8da913075e9a20a9",
    "simple": "a4a1590ffd5ae7c2d61f968e134747bde9bc6d68f6907be65c52fe262e3ccb9f",
}


@pytest.mark.parametrize("preset", PRESETS)
def test_pictures_and_truth_are_the_same_bytes_on_every_machine(preset: str) -> None:
    assert digest(f"scene:{preset}?{SMALL}&objects=4", (0, 77, 10_000_000)) == GOLDEN[preset]


def test_a_frame_depends_on_its_number_alone_not_on_the_order_or_the_process() -> None:
    address = f"scene:default?{SMALL}&seed=3"
    scene = Scene(address)
    backwards = {n: scene.render(n) for n in (50, 7, 31, 7)}
    fresh = Scene(address)
    for n in sorted(backwards):
        assert np.array_equal(fresh.render(n), backwards[n])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(digest, (address, (7, 31))) == digest(address, (7, 31))


def test_the_seed_changes_the_pictures_and_a_reused_buffer_does_not() -> None:
    scene, other = Scene(f"scene:default?{SMALL}"), Scene(f"scene:default?{SMALL}&seed=1")
    assert not np.array_equal(scene.render(0), other.render(0))
    dirty = np.full((180, 320, 3), 77, dtype=np.uint8)
    assert scene.render(9, dirty) is dirty
    assert np.array_equal(dirty, scene.render(9))


def test_motion_is_given_in_seconds() -> None:
    slow, fast = Scene(f"scene:default?{SMALL}&fps=10"), Scene(f"scene:default?{SMALL}&fps=30")
    assert np.array_equal(slow.render(4), fast.render(12))


@pytest.mark.parametrize("preset", PRESETS)
def test_another_color_of_an_object_changes_exactly_the_pixels_of_its_truth(preset: str) -> None:
    scene = Scene(f"scene:{preset}?{SMALL}&objects=5&seed=2")
    for n in (0, 40, 95, 170):
        before, truth = scene.render(n), scene.truth(n)
        for obj_id, mask in truth.items():
            sprite = scene._sprites[obj_id - 1]
            original = sprite.rgba.copy()
            sprite.rgba[..., :3] = 255 - original[..., :3] // 2 - 64 * (original[..., :3] < 128)
            changed = (scene.render(n) != before).any(axis=2)
            sprite.rgba[...] = original
            assert not (changed & ~mask).any(), f"object {obj_id}, frame {n}: pixels outside of its truth changed"
            # A rim pixel over an alike background may keep its value by chance; inside, every pixel changes.
            assert np.count_nonzero(mask & ~changed) <= 0.01 * np.count_nonzero(mask)


def test_truth_masks_do_not_overlap_and_the_higher_id_hides_the_lower() -> None:
    scene, whole = Scene(f"scene:crossing?{SMALL}"), Scene(f"scene:crossing?{SMALL}")
    whole._sprites[1].rgba[..., 3] = 0
    hidden = 0
    for n in range(0, 180, 6):
        below, above = (scene.truth(n)[obj_id] for obj_id in (1, 2))
        assert not (below & above).any()
        alone = whole.truth(n)[1]
        assert np.array_equal(below, alone & ~above)
        hidden = max(hidden, np.count_nonzero(alone & above))
    assert hidden > 300, "the look-alikes never pass over each other"


def test_leave_leaves_for_two_seconds_and_returns() -> None:
    scene = Scene("scene:leave?size=320x180&fps=5")
    seen = [1 in scene.visible(n) for n in range(80)]
    assert seen[0]
    assert seen.count(False) >= 2 * 8
    changes = [n for n in range(1, 80) if seen[n] != seen[n - 1]]
    assert len(changes) == 4, f"expected to leave and return twice in 16 s, changes at {changes}"
    gone = seen.index(False)
    assert not scene.truth(gone)[1].any()
    assert scene.truth_box(gone, 1) == (0, 0, 0, 0)
    assert scene.click_point(gone, 1) is None
    assert all(2 in scene.visible(n) for n in range(80))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_object_can_be_clicked_on_the_first_frame_whatever_the_seed(preset: str) -> None:
    for seed in range(12):
        scene = Scene(f"scene:{preset}?size=160x90&seed={seed}")
        truth = scene.truth(0)
        for obj_id in scene.names:
            point = scene.click_point(0, obj_id)
            assert point is not None
            x, y = point
            assert truth[obj_id][y - 1 : y + 2, x - 1 : x + 2].all(), f"seed {seed}: {scene.names[obj_id]}"
            assert truth[obj_id].sum() > 100


def test_box_is_the_tight_box_of_the_truth() -> None:
    scene = Scene(f"scene:default?{SMALL}")
    x, y, w, h = scene.truth_box(20, 1)
    mask = scene.truth(20)[1]
    assert mask[y : y + h, x : x + w].sum() == mask.sum()
    assert all(side.any() for side in (mask[y, x : x + w], mask[y + h - 1], mask[y : y + h, x], mask[:, x + w - 1]))
    with pytest.raises(KeyError, match="object 9"):
        scene.truth_box(20, 9)


def test_simple_shows_each_object_in_one_plain_color_of_its_own() -> None:
    scene = Scene(f"scene:simple?{SMALL}&objects=8")
    image, truth = scene.render(33), scene.truth(33)
    colors = {obj_id: {tuple(pixel) for pixel in image[mask].tolist()} for obj_id, mask in truth.items()}
    assert all(len(found) == 1 for found in colors.values())
    assert len(set.union(*colors.values())) == 8


def test_background_moves_under_a_resting_pixel() -> None:
    scene = Scene(f"scene:default?{SMALL}&objects=1")
    free = ~(scene.truth(0)[1] | scene.truth(90)[1])
    assert (scene.render(0) != scene.render(90))[free].any(axis=-1).mean() > 0.8


def test_cache_plays_forth_and_back_with_its_truth_and_its_own_numbers() -> None:
    cached, plain = (Scene(f"scene:default?{SMALL}&code=1{extra}") for extra in ("&cache=5", ""))
    for n, shown in [(0, 0), (4, 4), (5, 3), (7, 1), (8, 0), (9, 1), (800, 0)]:
        image = cached.render(n)
        assert read_frame_code(image) == n
        assert np.array_equal(image[16:], plain.render(shown)[16:])
        assert all(np.array_equal(cached.truth(n)[obj_id], plain.truth(shown)[obj_id]) for obj_id in cached.names)


@pytest.mark.parametrize("size", ["96x64", "320x180", "640x360", "1280x720", "360x640"])
@pytest.mark.parametrize("number", [0, 1, 123_456, 2**32 - 1])
def test_frame_code_survives_jpeg(size: str, number: int) -> None:
    width, height = map(int, size.split("x"))
    image = np.full((height, width, 3), (90, 120, 60), dtype=np.uint8)
    draw_frame_code(image, number)
    _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])
    assert read_frame_code(cv2.imdecode(jpeg, cv2.IMREAD_COLOR)) == number


def test_frame_code_survives_h264_at_a_low_rate() -> None:
    scene = Scene("scene:default?size=320x180&code=1")
    buffer = BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "34"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for n in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene.render(n), format="rgb24")))
        container.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer) as container:
        read = [read_frame_code(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert read == list(range(20))


def test_no_frame_code_is_read_where_none_was_drawn() -> None:
    scene = Scene("scene:default?size=320x180")
    assert [read_frame_code(scene.render(n)) for n in range(0, 300, 30)] == [None] * 10
    assert read_frame_code(np.zeros((180, 320, 3), dtype=np.uint8)) is None
    assert read_frame_code(np.full((180, 320, 3), 255, dtype=np.uint8)) is None
    assert read_frame_code(np.zeros((4, 4, 3), dtype=np.uint8)) is None
    torn = scene.render(0)
    draw_frame_code(torn, 77)
    torn[:4, 40:44] = 255 - torn[:4, 40:44]
    assert read_frame_code(torn) is None


def test_frame_code_hides_what_lies_below_it_from_the_truth() -> None:
    scene, coded = (Scene(f"scene:default?{SMALL}&objects=8&code={code}") for code in (0, 1))
    covered = 0
    for n in range(0, 600, 60):
        for obj_id, mask in coded.truth(n).items():
            assert not mask[:8, :96].any()
            assert np.array_equal(mask[8:], scene.truth(n)[obj_id][8:])
            covered += int(scene.truth(n)[obj_id][:8, :96].sum())
    assert covered, "no object ever came below the code: the test shows nothing"


def test_address_is_read_and_written() -> None:
    spec = SceneSpec.parse(
        "scene:leave?seed=7&size=1280x720&fps=30000/1001&frames=9&objects=5&live=0&code=1&cache=4&format=yuv420p"
    )
    assert spec == SceneSpec(
        "leave", 7, 1280, 720, Fraction(30000, 1001), 9, 5, live=False, code=True, cache=4, format="yuv420p"
    )
    for address in (spec.address, "scene:default", "scene:simple?objects=4", "scene:crossing?fps=25&live=0"):
        assert SceneSpec.parse(address).address == address
    assert SceneSpec.parse("scene:") == SceneSpec() == SceneSpec.parse("scene:default")
    assert SceneSpec.parse("scene:leave").objects == 2


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("scene:simpel", ["'simpel'", "did you mean 'simple'", "crossing"]),
        ("scene:default?sed=3", ["'sed'", "did you mean 'seed'", "scene:default?sed=3"]),
        ("scene:default?seed", ["'seed'", "seed=VALUE"]),
        ("scene:default?seed=1&seed=2", ["'seed'", "duplicate"]),
        ("scene:default?seed=-1", ["seed='-1'", "0 to"]),
        ("scene:default?seed=x", ["seed='x'", "whole number"]),
        ("scene:default?size=640", ["size='640'", "WIDTHxHEIGHT"]),
        ("scene:default?size=8x8", ["size='8x8'", "96"]),
        ("scene:default?size=99999x360", ["size=", "3840"]),
        ("scene:default?fps=0", ["fps='0'", "1 to 240"]),
        ("scene:default?fps=30/0", ["fps='30/0'", "30000/1001"]),
        ("scene:default?fps=nan", ["fps='nan'"]),
        ("scene:default?frames=0", ["frames='0'"]),
        ("scene:default?objects=9", ["objects='9'", "1 to 8"]),
        ("scene:default?live=yes", ["live='yes'", "0 or 1"]),
        ("scene:default?code=2", ["code='2'", "0 or 1"]),
        ("scene:default?cache=1000&size=1920x1080", ["cache=1000", "at most 172"]),
        ("scene:default?format=nv12", ["format='nv12'", "yuv420p"]),
        ("scene:default?format=yuv420p&size=641x360", ["641x360", "even"]),
        ("file:x", ["'file:x'", "scene:default"]),
    ],
)
def test_a_wrong_address_is_refused_with_the_value_and_the_fix(address: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        SceneSpec.parse(address)
    for word in words:
        assert word in str(caught.value)


def test_source_delivers_the_scene_with_pts_as_frame_number() -> None:
    source = SceneSource(f"scene:default?{SMALL}&frames=3&live=0&fps=25", pace="fast")
    info = source.open()
    assert (info.kind, info.live, info.width, info.height, info.frame_rate, info.frames) == (
        "scene", False, 320, 180, 25.0, 3,
    )  # fmt: skip
    scene = Scene(source.spec)
    for n in range(3):
        frame = source.read()
        assert (frame.stamps.pts, frame.stamps.time_base, frame.stamps.t_source) == (n, (1, 25), "file")
        assert frame.stamps.t_captured_ns <= frame.stamps.t_decoded_ns
        assert frame.planes[0].shape == frame.format.plane_shapes[0]
        assert np.array_equal(frame.planes[0].reshape(180, 320, 3), scene.render(n))
    with pytest.raises(EndOfStreamError, match="3 frames"):
        source.read()
    source.close()
    source.close()
    with pytest.raises(SourceError, match="open"):
        source.read()
    source.open()
    assert source.read().stamps.pts == 0


def test_a_loop_starts_over() -> None:
    source = SceneSource(f"scene:simple?{SMALL}&frames=2&live=0", pace="fast", loop=True)
    source.open()
    assert [source.read().stamps.pts for _ in range(5)] == [0, 1, 0, 1, 0]


def test_yuv420p_is_bt601_limited() -> None:
    source = SceneSource(f"scene:simple?{SMALL}&live=0&format=yuv420p", pace="fast")
    source.open()
    frame = source.read()
    assert (frame.format.pixel_format, frame.format.matrix, frame.format.full_range) == ("yuv420p", "bt601", False)
    assert tuple(plane.shape for plane in frame.planes) == frame.format.plane_shapes
    scene = Scene(source.spec)
    rgb = scene.render(0)[scene.truth(0)[1]][0].astype(np.float64) / 255.0
    inside = cv2.erode(scene.truth(0)[1].astype(np.uint8), np.ones((5, 5))) > 0
    luma = 16 + 219 * (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2])
    blue = 128 + 224 * (rgb[2] - (luma - 16) / 219) / 1.772
    red = 128 + 224 * (rgb[0] - (luma - 16) / 219) / 1.402
    for plane, expected, mask in zip(
        frame.planes, (luma, blue, red), (inside, inside[::2, ::2], inside[::2, ::2]), strict=True
    ):
        assert np.abs(plane[mask] - expected).max() <= 1.5


def test_paced_frames_never_come_before_they_are_due() -> None:
    for live in (0, 1):
        source = SceneSource(f"scene:simple?size=160x90&fps=100&live={live}")
        before = time.monotonic_ns()
        source.open()
        for _ in range(20):
            stamps = source.read().stamps
            assert stamps.t_captured_ns - before >= stamps.pts * 10_000_000 - (0 if live else 1_000_000)


def test_a_late_reader_of_a_live_scene_gets_the_frame_that_is_due_and_the_rest_is_counted() -> None:
    source = SceneSource("scene:simple?size=160x90&fps=240")
    source.open()
    last = -1
    for _ in range(8):
        pts = source.read().stamps.pts
        assert pts > last
        last = pts
        time.sleep(0.04)  # at least nine frames go by
    assert source.skipped >= 7 * 8
    assert 8 + source.skipped == last + 1


def test_a_late_reader_of_a_file_like_scene_loses_nothing() -> None:
    source = SceneSource("scene:simple?size=160x90&fps=240&live=0&frames=12")
    source.open()
    pts = []
    for _ in range(12):
        pts.append(source.read().stamps.pts)
        deadline = time.monotonic() + 0.02
        while time.monotonic() < deadline:
            pass
    assert pts == list(range(12))
    assert source.skipped == 0


def test_the_scheme_may_be_written_in_any_case() -> None:
    assert Scene("Scene:simple").spec == Scene("scene:simple").spec
