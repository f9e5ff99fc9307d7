"""Dense passes: each is what its paper says, written out in NumPy, and its whole row is the tower's own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from typer.testing import CliRunner

import fastconcept as fc
from fastconcept.cli import app
from fastconcept.errors import ExportError, InputError
from fastconcept.export.build import export_open_clip
from fastconcept.export.contents import Contents
from fastconcept.export.dense.attention import CHANGES
from fastconcept.export.dense.find import check_names, find_dense, find_dense_inside
from fastconcept.export.dense.positions import resample_positions

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def visual() -> Any:
    """A random transformer of seven blocks whose biases and norms say something, too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tower = open_clip.transformer.VisionTransformer(32, 8, 32, 7, 4, 2.0, output_dim=16).eval()
        for parameter in tower.parameters():
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, std=0.5)
    return tower


@pytest.mark.parametrize("new", [(7, 7), (14, 9), (5, 4), (1, 21)])
def test_positions_are_those_of_torch(new: tuple[int, int]) -> None:
    table = torch.randn(49, 5, generator=torch.Generator().manual_seed(0))
    grid = table.reshape(1, 7, 7, 5).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, size=new, mode="bicubic", antialias=True)
    ours = resample_positions(table, (7, 7), new)
    torch.testing.assert_close(ours, expected.permute(0, 2, 3, 1).reshape(-1, 5), atol=1e-5, rtol=0)


def softmax(x: Array) -> Array:
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def unit(x: Array) -> Array:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


class Naive:
    """An open_clip transformer for one picture of its own size, head by head, in float64."""

    def __init__(self, visual: Any) -> None:
        self.weights = {name: value.detach().numpy().astype(np.float64) for name, value in visual.state_dict().items()}
        self.layers, self.heads = len(visual.transformer.resblocks), visual.transformer.resblocks[0].attn.num_heads

    def norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def tokens(self, pixels: Array) -> Array:
        kernel = self.weights["conv1.weight"]
        side, count = kernel.shape[-1], pixels.shape[-1] // kernel.shape[-1]
        cells = [
            np.einsum("oikl,ikl->o", kernel, pixels[:, y : y + side, x : x + side])
            for y in range(0, count * side, side)
            for x in range(0, count * side, side)
        ]
        tokens = np.stack([self.weights["class_embedding"], *cells]) + self.weights["positional_embedding"]
        return self.norm(tokens, "ln_pre")

    def attend(self, x: Array, layer: int, weigh: Callable[[Array, Array, Array], Array]) -> Array:
        """One attention layer of x (t, c), already normalised; ``weigh`` makes the (t, t) weights of a head."""
        name = f"transformer.resblocks.{layer}.attn"
        joint = x @ self.weights[f"{name}.in_proj_weight"].T + self.weights[f"{name}.in_proj_bias"]
        width = x.shape[1] // self.heads
        mixed = []
        for head in range(self.heads):
            q, k, v = (joint[:, part * x.shape[1] :][:, head * width : (head + 1) * width] for part in range(3))
            mixed.append(weigh(q, k, v) @ v)
        return self.linear(np.concatenate(mixed, axis=1), f"{name}.out_proj")

    def feed(self, x: Array, layer: int) -> Array:
        from scipy.special import erf

        name = f"transformer.resblocks.{layer}"
        hidden = self.linear(self.norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc")
        return self.linear(hidden * (1 + erf(hidden / np.sqrt(2))) / 2, f"{name}.mlp.c_proj")

    def normed(self, x: Array, layer: int) -> Array:
        return self.norm(x, f"transformer.resblocks.{layer}.ln_1")

    def plain(self, x: Array, layer: int) -> Array:
        x = x + self.attend(self.normed(x, layer), layer, lambda q, k, v: softmax(q @ k.T / np.sqrt(q.shape[1])))
        return x + self.feed(x, layer)

    def rows(self, x: Array) -> Array:
        return unit(self.norm(x, "ln_post") @ self.weights["proj"])

    def dense(self, pixels: Array, change: str) -> Array:
        """Unit rows of the tokens of one picture."""
        x, last = self.tokens(pixels), self.layers - 1
        if change == "gem":
            return self.gem(x)
        for layer in range(last):
            x = self.plain(x, layer)
        weigh = {"maskclip": self.identity, "sclip": self.csa, "clearclip": self.queries, "naclip": self.neighbours}
        attended = self.attend(self.normed(x, last), last, weigh[change])
        if change in ("maskclip", "sclip"):
            x = x + attended
            return self.rows(x + self.feed(x, last))[1:]
        return self.rows(attended)[1:]

    @staticmethod
    def identity(q: Array, k: Array, v: Array) -> Array:
        return np.eye(len(q))

    @staticmethod
    def csa(q: Array, k: Array, v: Array) -> Array:
        return softmax(q @ q.T / np.sqrt(q.shape[1])) + softmax(k @ k.T / np.sqrt(q.shape[1]))

    @staticmethod
    def queries(q: Array, k: Array, v: Array) -> Array:
        return softmax(q @ q.T / np.sqrt(q.shape[1]))

    @staticmethod
    def neighbours(q: Array, k: Array, v: Array) -> Array:
        logits, side = k @ k.T / np.sqrt(q.shape[1]), round(np.sqrt(len(k) - 1))
        for one in range(len(k) - 1):
            for two in range(len(k) - 1):
                down, across = one // side - two // side, one % side - two % side
                logits[1 + one, 1 + two] += np.exp(-(down**2 + across**2) / (2 * 5.0**2))
        return softmax(logits)

    def gem(self, x: Array) -> Array:
        path = x
        for layer in range(self.layers):
            if layer == self.layers - 6:
                path = x
            if layer >= self.layers - 6:
                inputs = self.normed(x, layer)
                length = np.linalg.norm(inputs, axis=1).mean()

                def weigh(q: Array, k: Array, v: Array, length: float = length) -> Array:
                    heat, weights = length / np.sqrt(q.shape[1]), np.zeros((len(q), len(q)))
                    for given in (q, k, v):
                        unrefined = unit(given)
                        refined = unit(softmax(heat * unrefined @ unrefined.T) @ unrefined)
                        weights += softmax(heat * refined @ refined.T) / 3
                    return weights

                path = path + self.attend(inputs, layer, weigh)
            x = self.plain(x, layer)
        return self.rows(path)[1:]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_what_its_paper_says(visual: Any, change: str) -> None:
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        rows = find_dense(visual).modules[change]()(pixels).numpy()
        whole = torch.nn.functional.normalize(visual(pixels), dim=-1).numpy()
    np.testing.assert_allclose(rows[:, 0], whole, atol=2e-6)
    for index in range(2):
        expected = Naive(visual).dense(pixels[index].numpy().astype(np.float64), change)
        np.testing.assert_allclose(rows[index, 1:], expected, atol=1e-5)


def test_changes_differ(visual: Any) -> None:
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        rows = [make()(pixels).numpy() for make in find_dense(visual).modules.values()]
    assert all(np.abs(one - two).max() > 1e-3 for i, one in enumerate(rows) for two in rows[:i])


TIMM = {
    "siglip": ("vit_base_patch16_siglip_224", {"pool": "map"}, {"depth": 2, "embed_dim": 64, "num_heads": 2}),
    "eva": ("eva02_base_patch16_clip_224", {"pool": "token"}, {"depth": 2, "embed_dim": 64, "num_heads": 2}),
    "mean": ("vit_small_patch16_224", {"pool": "avg", "proj": "linear"}, {"depth": 2, "embed_dim": 64, "num_heads": 2}),
}


def timm_tower(kind: str) -> Any:
    """A small random tower of timm, as open_clip holds it, that reads 64 pixels."""
    import timm
    from open_clip.timm_model import TimmModel

    name, options, small = TIMM[kind]
    create = timm.create_model

    def small_model(name: str, **keywords: Any) -> Any:
        return create(name, **keywords, **small, img_size=64)

    with torch.random.fork_rng(), pytest.MonkeyPatch.context() as patch:
        torch.manual_seed(0)
        patch.setattr("open_clip.timm_model.timm.create_model", small_model)
        return TimmModel(name, 16, 64, **{"proj": None, **options}).eval()


@pytest.mark.parametrize("kind", TIMM)
def test_towers_of_timm_are_taken_apart_rightly(kind: str) -> None:
    tower = timm_tower(kind)
    dense = find_dense(tower)
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(tower(pixels), dim=-1)
        for change in ("clearclip", "gem"):
            module = dense.modules[change]()
            torch.testing.assert_close(module(pixels)[:, 0], expected, atol=2e-6, rtol=0)
            assert module(pixels[:1, :, :32].repeat(1, 1, 1, 2)).shape == (1, 1 + 2 * 8, 16)


def test_a_tower_of_one_kind_of_token_is_its_own_dense_pass() -> None:
    """Where all tokens of the last block are equal, so are the values, and attention cannot tell them apart."""
    tower = timm_tower("siglip")
    with torch.inference_mode():
        tower.trunk.pos_embed.zero_()
        rows = find_dense(tower).modules["maskclip"]()(torch.ones(1, 3, 64, 96))
    torch.testing.assert_close(rows[:, 1:], rows[:, :1].expand_as(rows[:, 1:]), atol=1e-5, rtol=0)


def test_attention_pools_give_projected_values() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tower = open_clip.modified_resnet.ModifiedResNet([1, 1, 1, 1], 16, 8, image_size=64, width=8).eval()
    dense = find_dense(tower)
    assert dense.stride == 32 and list(dense.modules) == ["maskclip"]
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        rows = dense.modules["maskclip"]()(pixels)
        maps = tower.forward_intermediates(pixels, indices=1, intermediates_only=True)["image_intermediates"][0]
        pool = tower.attnpool
        values = pool.v_proj(maps.flatten(2).transpose(1, 2))
        expected = torch.nn.functional.normalize(torch.cat([tower(pixels)[:, None], pool.c_proj(values)], 1), dim=-1)
        torch.testing.assert_close(rows, expected, atol=2e-6, rtol=0)
        assert dense.modules["maskclip"]()(pixels[:1, :, :, :32]).shape == (1, 3, 16)


def test_what_has_no_tokens_says_why() -> None:
    from open_clip.timm_model import TimmModel

    with pytest.raises(ExportError, match="no transformer"):
        find_dense(torch.nn.Identity())
    with pytest.raises(ExportError, match="no transformer"):
        find_dense(TimmModel("test_convnext", 16, 64, pool="", proj="linear"))
    coca = open_clip.transformer.VisionTransformer(32, 8, 32, 2, 4, 2.0, output_dim=16, attentional_pool=True)
    with pytest.raises(ExportError, match="CoCa"):
        find_dense(coca)
    with pytest.raises(ExportError, match=r"clearclip.*got 'clipclip'"):
        check_names(("clipclip",))


@pytest.fixture(scope="module")
def bundle(
    tiny_checkpoint: str,
    take_text_tower: Callable[[pytest.MonkeyPatch], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A compact bundle of a tiny random transformer with two dense passes, and their agreement with crops."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("dense")
    for number in range(32):
        coarse = np.random.default_rng(number).integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40, 30)).save(folder / f"{number}.png")
    contents = Contents(roots=["big_cat.n.01"], vocabulary_size=0, mean_images=folder)
    passes = ("clearclip", "naclip")
    options = {"contents": contents, "dense": passes, "compact": True, "progress": False}
    with pytest.MonkeyPatch.context() as monkeypatch:
        take_text_tower(monkeypatch)
        export_open_clip(tiny_checkpoint, folder / "bundle", **options)
    return folder / "bundle"


def test_dense_passes_share_the_weights_of_the_encoder(bundle: Path) -> None:
    opened = fc.load(bundle).bundle
    dense = opened.manifest.dense
    assert dense is not None and list(dense.towers) == ["clearclip", "naclip"] and dense.stride == 8
    sizes = {name: size for name, (_, size) in opened.manifest.files.items()}
    graphs = sum(sizes[name] for name in (opened.manifest.image_encoder, *dense.towers.values()))
    assert sizes[dense.weights or ""] < 400_000 and graphs < 600_000  # 100,000 weights of 16 bits, not thrice
    opened.verify()
    assert opened.manifest.absent == {"windows": "its image tower does not pool a feature map"}


def test_maps_of_a_dense_pass(bundle: Path) -> None:
    engine = fc.load(bundle)
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    evidence = engine.evidence(image, mode="dense")
    assert evidence.grid.shape == (4, 6) and evidence.layout.mode == "dense:clearclip"  # 32 pixels, 8 a token
    np.testing.assert_allclose(np.linalg.norm(evidence.rows, axis=1), 1, atol=1e-5)
    seen = engine.explain(image, ["big_cat.n.01", "lion.n.01"], mode="dense:naclip", class_bias=0.5)
    assert seen.mode == "dense:naclip" and seen.maps.shape == (2, 32, 48) and np.isfinite(seen.maps).all()
    assert seen.options["class_bias"] == 0.5
    square = np.ascontiguousarray(image[:, :60])
    whole = engine.evidence(square, mode="dense").whole
    np.testing.assert_allclose(whole, engine.encode_image(square), atol=1e-2)  # the two resize differently by a hair
    with pytest.raises(InputError, match="dense:clearclip, dense:naclip"):
        engine.explain(image, "lion.n.01", mode="dense:gem")
    assert engine.parts.modes == ["crops", "dense:clearclip", "dense:naclip"]


def test_agreement_with_crops_stands_in_the_bundle(bundle: Path) -> None:
    agreement = fc.load(bundle).bundle.manifest.agreement
    assert list(agreement) == ["dense:clearclip", "dense:naclip"]
    for numbers in agreement.values():
        assert numbers["photographs"] == 32 and numbers["present"]["maps"] + numbers["absent"]["maps"] > 32
        assert -1 <= numbers["present"]["spearman"] <= 1 and 0 <= numbers["absent"]["box"] <= 1
    text = CliRunner().invoke(app, ["info", "--bundle", str(bundle)], env={"COLUMNS": "400"}).output
    assert "dense:naclip beside crops on 32 photographs: spearman" in text and "no windows (its image tower" in text


def test_a_pass_that_does_not_agree_is_left_out(
    tiny_checkpoint: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    finished_towers: None,
) -> None:
    monkeypatch.setattr("fastconcept.export.dense.write.LARGEST_DIFFERENCE", -1.0)
    contents = Contents(roots=["cat.n.01"], vocabulary_size=0)
    with caplog.at_level(logging.WARNING):
        bundle = export_open_clip(tiny_checkpoint, tmp_path / "tiny", contents=contents, progress=False)
    assert bundle.manifest.dense is None and not list((tmp_path / "tiny").glob("image_dense*"))
    assert "is not the tower" in bundle.manifest.absent["dense"] and "is not the tower" in caplog.text
    with pytest.raises(InputError, match="is not the tower"):
        fc.load(bundle.path).evidence(np.zeros((9, 9, 3), np.uint8), mode="dense")


class ClipAttention(torch.nn.Module):
    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.num_heads = attention.num_heads
        self.q_proj, self.k_proj, self.v_proj = (torch.nn.Linear(32, 32) for _ in range(3))
        weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
        for layer, weight, bias in zip((self.q_proj, self.k_proj, self.v_proj), weights, biases, strict=True):
            layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
        self.out_proj = attention.out_proj


class ClipModelTower(torch.nn.Module):
    """The weights of a tower of open_clip in the layout of transformers' ``CLIPModel``; runs the original."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.original, self.projection = [visual], torch.nn.Linear(32, 16, bias=False)
        self.projection.load_state_dict({"weight": visual.proj.detach().T.contiguous()})
        table = torch.nn.Embedding.from_pretrained(visual.positional_embedding.detach())
        self.vision = trunk = torch.nn.Module()
        trunk.embeddings, trunk.encoder = torch.nn.Module(), torch.nn.Module()
        trunk.embeddings.class_embedding = visual.class_embedding
        trunk.embeddings.patch_embedding, trunk.embeddings.position_embedding = visual.conv1, table
        trunk.pre_layrnorm, trunk.post_layernorm = visual.ln_pre, visual.ln_post
        trunk.encoder.layers = torch.nn.ModuleList([self.layer(block) for block in visual.transformer.resblocks])

    @staticmethod
    def layer(block: Any) -> torch.nn.Module:
        layer = torch.nn.Module()
        layer.layer_norm1, layer.layer_norm2, layer.mlp = block.ln_1, block.ln_2, block.mlp
        layer.self_attn = ClipAttention(block.attn)
        return layer

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.original[0](pixels)


@pytest.mark.parametrize("name", CHANGES)
def test_the_layout_of_clip_models_gives_the_rows_of_open_clips(visual: Any, name: str) -> None:
    pixels = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    theirs, ours = find_dense_inside(ClipModelTower(visual)), find_dense(visual)
    assert theirs.stride == ours.stride == 8
    with torch.inference_mode():
        torch.testing.assert_close(theirs.modules[name]()(pixels), ours.modules[name]()(pixels), atol=1e-5, rtol=0)


def test_a_transformer_of_timm_inside_another_module() -> None:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    trunk = VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=24)
    for tower in (trunk, torch.nn.Sequential(trunk, torch.nn.Linear(24, 16))):
        pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected = torch.nn.functional.normalize(tower.eval()(pixels), dim=-1)
            rows = find_dense_inside(tower).modules["gem"]()(pixels)
        assert rows.shape == (2, 17, expected.shape[1])
        torch.testing.assert_close(rows[:, 0], expected, atol=1e-5, rtol=0)


def test_a_tower_that_holds_no_transformer_is_refused() -> None:
    with pytest.raises(ExportError, match="holds no transformer"):
        find_dense_inside(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten()))
