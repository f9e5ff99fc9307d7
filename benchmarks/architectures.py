"""Which architectures of open_clip become bundles, each tried with random weights and a few of its layers.

    pip install transformers
    python -m benchmarks.architectures [NAME ...]

exports the named architectures, by default all of ``NAMES``, and writes ``benchmarks/results/architectures.json`` and
the table ``docs/open_clip.md``. Rows of other architectures stay as they are. Layers are cut to two (blocks of stages
to one) and large vocabularies to that of a small tokenizer, because what an export may meet is how a tower is laid out,
not how deep it is. Nothing is downloaded: tokenizers, and configurations of text towers of transformers, are made here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from fastconcept.environment import environment
from fastconcept.errors import FastconceptError
from fastconcept.export import Contents, export_open_clip
from fastconcept.export.banks import FREQUENT_NOUNS
from fastconcept.export.vocabulary import read_phrases
from fastconcept.files import whole_file

NAMES = (
    "ViT-S-32", "ViT-S-16-alt", "ViT-B-32", "ViT-B-32-quickgelu", "ViT-B-16", "ViT-B-16-plus-240", "ViT-L-14",
    "ViT-L-14-336", "ViT-H-14", "ViT-g-14", "ViT-bigG-14", "RN50", "RN50-quickgelu", "RN101", "RN50x4", "convnext_tiny",
    "convnext_base_w", "convnext_large_d", "EVA01-g-14", "EVA02-B-16", "EVA02-L-14-336", "ViT-B-16-SigLIP",
    "ViT-B-16-SigLIP-i18n-256", "ViT-B-16-SigLIP2", "ViT-SO400M-14-SigLIP", "ViT-L-14-CLIPA", "ViT-H-14-CLIPA-336",
    "coca_ViT-B-32", "coca_base", "coca_roberta-ViT-B-32", "MobileCLIP-S1", "MobileCLIP-B", "MobileCLIP2-S0",
    "MobileCLIP2-S3", "PE-Core-T-16-384", "PE-Core-B-16", "ViTamin-S", "vit_medium_patch16_gap_256",
    "vit_relpos_medium_patch16_cls_224", "swin_base_patch4_window7_224", "roberta-ViT-B-32",
    "xlm-roberta-base-ViT-B-32", "mt5-base-ViT-B-32", "nllb-clip-base", "nllb-clip-base-siglip", "ViT-H-14-worldwide",
)  # fmt: skip
RESULTS = Path(__file__).parent / "results" / "architectures.json"
PAGE = Path(__file__).parents[1] / "docs" / "open_clip.md"
_SMALL = {"num_layers": 2, "vocab_size": 3000, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_BERT_LIKE = _SMALL | {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
# Configurations of text towers of transformers, by a word in their names, small.
TEXT_TOWERS: dict[str, dict[str, Any]] = {
    "roberta": {"model_type": "xlm-roberta", "max_position_embeddings": 130, **_BERT_LIKE},
    "mt5": {"model_type": "mt5", "d_model": 128, "d_kv": 32, "d_ff": 256, "num_heads": 4, **_SMALL},
    "nllb": {
        "model_type": "m2m_100",
        **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 256),
        "d_model": 128,
        **_SMALL,
    },
}
INTRODUCTION = """# Architectures of open_clip

Each row is an export with random weights, as
`python -m benchmarks.architectures` makes it (open_clip {open_clip}, timm {timm}, transformers {transformers}): a model
with the towers of that architecture, of which two layers or one block a stage are kept, through the same export,
comparison with torch and reading back as any other. It says that the layout is understood. Whether a trained model
agrees with its original is measured by each export. Architectures that are not listed, sizes of the same families for
the most part, were not tried.

Text is *dynamic* where short texts are encoded at their own length, *fixed* where a tower sees its padding. The cosine
is the smallest between exported and original embeddings of 64 pictures and 256 texts. *Windows* says whether the tower
pools a feature map, so that the bundle has that mode; [dense.md](dense.md) says which towers have dense passes.

"""


def main() -> None:
    """Export and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.architectures", description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help="architectures to export anew")
    chosen = parser.parse_args().names
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.is_file() else {}
    for name in chosen:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = export(name, Path(folder))
        print(name, rows[name], f"{time.perf_counter() - began:.0f} s", flush=True)
        write({name: rows[name] for name in NAMES if name in rows})


def write(rows: dict[str, dict[str, Any]]) -> None:
    """The document and the page of these rows."""
    import open_clip
    import timm
    import transformers

    with whole_file(RESULTS) as stream:
        stream.write((json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n").encode())
    versions = {package.__name__: package.__version__ for package in (open_clip, timm, transformers)}
    with whole_file(PAGE) as stream:
        stream.write(page(rows, versions).encode())


def page(rows: dict[str, dict[str, Any]], versions: dict[str, str]) -> str:
    """The page of these rows, in markdown."""
    lines = ["| architecture | text | windows | cosine |", "|---|---|---|---|"]
    exported = {name: row for name, row in rows.items() if "refused" not in row}
    for name, row in exported.items():
        lines.append(f"| {name} | {row['text']} | {'yes' if row['windows'] else 'no'} | {row['cosine']:.7f} |")
    refused = [f"* {name}: {row['refused']}" for name, row in rows.items() if "refused" in row]
    ending = ["", "## Not exported", "", *refused] if refused else []
    if untried := [name for name in NAMES if name not in rows]:
        ending += ["", "## Not tried", "", f"The command tries these too, but has not: {', '.join(untried)}."]
    return INTRODUCTION.format(**versions) + "\n".join([*lines, *ending]) + "\n"


def export(name: str, folder: Path) -> dict[str, Any]:
    """What became of one architecture."""
    with small_timm():
        model = write_checkpoint(name, folder / name)
        contents = Contents(roots=["cat.n.01"], vocabulary_size=5)
        try:
            manifest = export_open_clip(model, folder / "bundle", contents=contents, dense=(), progress=False).manifest
        except FastconceptError as error:
            return {"refused": str(error).replace(f"local-dir:{folder}/", "").replace(f"{folder}/", "")}
    return {"text": manifest.text_length, "windows": bool(manifest.split), "cosine": manifest.parity["min_cosine"]}


def write_checkpoint(name: str, folder: Path) -> str:
    """A small random model with the layout of an architecture, as ``local-dir:``."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config: dict[str, Any] = json.loads(json.dumps(open_clip.get_model_config(name)))
    vision, text = config["vision_cfg"], config["text_cfg"]
    for part in (vision, text, config.get("multimodal_cfg", {})):
        if "layers" in part:
            part["layers"] = 2 if isinstance(part["layers"], int) else [1] * len(part["layers"])
    folder.mkdir()
    if text.get("hf_tokenizer_name"):
        write_tokenizer(folder, strip=text.get("tokenizer_kwargs", {}).get("strip_sep_token", False))
        text["vocab_size"] = _SMALL["vocab_size"]
    if text.get("hf_model_name"):
        kind = next(kind for kind in TEXT_TOWERS if kind in text["hf_model_name"])
        (folder / "text").mkdir()
        (folder / "text" / "config.json").write_text(json.dumps(TEXT_TOWERS[kind]))
        text |= {"hf_model_name": str(folder / "text"), "hf_model_pretrained": False}
    document = {"model_cfg": config, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    torch.manual_seed(0)
    custom = config.pop("custom_text", False) or "hf_model_name" in text
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP if custom else open_clip.CLIP
    network = kind(**config)
    for parameter in network.parameters():  # a few are left uninitialised by their constructors
        if parameter.ndim and not parameter.detach().abs().max() < 100:
            torch.nn.init.normal_(parameter, std=0.02)
    tensors = {key: tensor.clone().contiguous() for key, tensor in network.state_dict().items()}
    save_file(tensors, str(folder / "open_clip_model.safetensors"))
    return f"local-dir:{folder}"


def write_tokenizer(folder: Path, strip: bool) -> None:
    """A small fast tokenizer of transformers: of BERT's kind if separators are stripped, else of XLM-RoBERTa's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    words, size = read_phrases(FREQUENT_NOUNS), _SMALL["vocab_size"] - 100
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if strip else ["<s>", "<pad>", "</s>", "<unk>"]
    first, last = (names[2], names[3]) if strip else (names[0], names[2])
    if strip:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=size, special_tokens=names)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=names, unk_token="<unk>")
    tokenizer.train_from_iterator(words, trainer)
    ends = [(name, tokenizer.token_to_id(name)) for name in (first, last)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=ends)
    special = {"unk_token": names[1] if strip else names[3], "pad_token": names[0] if strip else names[1]}
    special |= {"sep_token": last, "cls_token": first, "bos_token": first, "eos_token": last}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(str(folder))


@contextmanager
def small_timm() -> Iterator[None]:
    """Inside, timm makes towers of two layers, or of one block a stage."""
    import timm

    create: Callable[..., Any] = timm.create_model

    def small(name: str, **options: Any) -> Any:
        for fewer in ({"depth": 2}, {"depths": (1, 1, 1, 1)}, {"layers": (1, 1, 1, 1, 1)}, {"layers": (1, 1, 1, 1)}):
            try:
                return create(name, **options, **fewer)
            except (TypeError, AssertionError, IndexError, ValueError, AttributeError):
                continue
        return create(name, **options)

    with mock.patch("timm.create_model", small):
        yield


if __name__ == "__main__":
    main()
