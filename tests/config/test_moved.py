"""Which settings change when their file moves to another folder, and what to write."""

from pathlib import Path

from streamseg.config.load import load_config
from streamseg.config.moved import settings_that_move

CONFIG = """
x-note: clip.mp4
model:
  name: ./own.pt
  config: own.yaml
record: {path: out, clips: {path: /clips}}
security: {keys: keys}
streams:
  cam:
    source: ${CLIP}
    prompts:
      - {object: 1, box: [0, 0, 5, 5]}
      - {object: 2, mask: mask.png}
  door:
    source: file:clip.mp4
  yard:
    source: scene:simple
"""


def test_each_relative_path_is_named_with_its_fix(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIP", "clip.mp4")
    for name in ("clip.mp4", "mask.png", "own.pt", "own.yaml"):
        (tmp_path / name).write_bytes(b"")
    file = tmp_path / "c.yaml"
    file.write_text(CONFIG)
    load_config(file)
    assert settings_that_move(file, tmp_path) == []
    lines = settings_that_move(file, Path("/etc/streamseg"))
    assert {line.partition(" (")[0] for line in lines} == {
        f"line 4: model.name: './own.pt' is relative: write '{tmp_path}/own.pt'",
        f"line 5: model.config: 'own.yaml' is relative: write '{tmp_path}/own.yaml'",
        f"line 6: record.path: 'out' is relative: write '{tmp_path}/out'",
        f"line 7: security.keys: 'keys' is relative: write '{tmp_path}/keys'",
        f"line 10: streams.cam.source: ${{CLIP}} is relative: write '{tmp_path}/${{CLIP}}'",
        f"line 13: streams.cam.prompts[1].mask: 'mask.png' is relative: write '{tmp_path}/mask.png'",
        f"line 15: streams.door.source: 'file:clip.mp4' is relative: write '{tmp_path}/clip.mp4'",
    }
