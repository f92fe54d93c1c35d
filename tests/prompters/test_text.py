"""The type ``text`` with tiny random models that the test makes: only the form of their proposals is right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streamseg.errors import ConfigError
from streamseg.prompters.text import create

transformers = pytest.importorskip("transformers", reason="the package transformers is not installed")

PICTURE = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)


def owlv2(folder: Path) -> Path:
    """Write a tiny OWLv2."""
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = ["!", *letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token="!")
    tokens = {"vocab_size": len(vocabulary), "bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1}
    config = transformers.Owlv2Config(
        text_config={**small, **tokens, "pad_token_id": 0},
        vision_config={**small, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )
    transformers.Owlv2ForObjectDetection(config).save_pretrained(folder)
    images = transformers.Owlv2ImageProcessor(size={"height": 64, "width": 64})
    transformers.Owlv2Processor(images, tokenizer).save_pretrained(folder)
    return folder


def grounding_dino(folder: Path) -> Path:
    """Write a tiny Grounding DINO."""
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    bert = {"model_type": "bert", "vocab_size": len(vocabulary), "hidden_size": 32, "num_hidden_layers": 1}
    bert |= {"num_attention_heads": 2, "intermediate_size": 32}
    swin = transformers.SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4, out_indices=[2, 3, 4]
    )
    config = transformers.GroundingDinoConfig(
        backbone_config=swin,
        text_config=bert,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=20,
    )
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = transformers.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    transformers.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("make", [owlv2, grounding_dino])
def test_found_objects_are_labeled_with_one_of_the_texts(tmp_path: Path, make) -> None:
    prompter = create({"model": str(make(tmp_path)), "texts": ["red cup", "Dog"], "score": 0.0, "overlap": 0.9})
    proposals = prompter.prompts(PICTURE, [])
    assert proposals
    assert {one.label for one in proposals} <= {"red cup", "Dog"}
    assert all(len(one.box) == 4 and np.isfinite(one.box).all() and 0 <= one.score <= 1 for one in proposals)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match=r"settings\.model: .*no Grounding DINO or OWLv2"):
        create({"model": str(tmp_path), "texts": ["cup"]})
