"""The recipe of the built-in model, on tiny data and without downloads."""

from __future__ import annotations

import copy
import io
import json
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastconcept as fc
from fastconcept.sparse.dictionary import Dictionary

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
timm = pytest.importorskip("timm")

from training.builtin import evaluate, features, objective, rightness, rows, schedule, words  # noqa: E402
from training.builtin.checkpoint import Model, empty_text_tower, load, save  # noqa: E402
from training.builtin.learn import Data, Settings, anchors, learn, learn_people, people  # noqa: E402
from training.builtin.lessons import KINDS, PEOPLE, Lessons, read_lessons  # noqa: E402
from training.builtin.photographs import centre, photographs  # noqa: E402
from training.builtin.tower import DIM, CaptionBranch, ImageTower, PeopleProbe, TextAdapter, mix  # noqa: E402
from training.builtin.trunk import FEATURES, class_probabilities, empty_trunk, load_trunk, read_features  # noqa: E402


@pytest.fixture(scope="module")
def trunk():
    torch.manual_seed(0)
    return empty_trunk()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Two packs of four photographs: captioned, labelled, of a named folder, and one of 64 px."""
    draw = np.random.default_rng(0)
    for pack, keys in (("train2", ["flickr8k_a", "houses_b"]), ("train", ["cub100_c", "tiny_imagenet_d"])):
        (tmp_path / pack).mkdir()
        with tarfile.open(tmp_path / pack / "shard-000.tar", "w") as archive:
            for key in keys:
                data = io.BytesIO()
                Image.fromarray(draw.integers(0, 255, (40, 60, 3), np.uint8)).save(data, "JPEG")
                entry = tarfile.TarInfo(f"{key}.jpg")
                entry.size = len(data.getvalue())
                archive.addfile(entry, io.BytesIO(data.getvalue()))
    said = ["A woman and a puppy .", "a woman in snow", "a lady outside", "someone", "dog"]
    (tmp_path / "train2" / "captions.json").write_text(json.dumps({"flickr8k_a": said}))
    (tmp_path / "train" / "captions.json").write_text("{}")
    (tmp_path / "train2" / "objects.json").write_text(json.dumps({"houses_b": [["bedroom", 0, 0, 1, 1]]}))
    np.savez(tmp_path / "train" / "labels.npz", keys=np.array([b"cub100_c"]), group=np.array([b"Blue_Grouse"]))
    return tmp_path


@pytest.mark.parametrize("side", [96, 224])
def test_padding_is_tensorflows_for_multiples_of_32(trunk, side):
    original = timm.create_model("tf_efficientnet_lite0").eval()
    original.load_state_dict(trunk.state_dict())
    pixels = torch.randn(1, 3, side, side)
    with torch.inference_mode():
        read = read_features(trunk, pixels)
        assert read.shape == (1, FEATURES)
        torch.testing.assert_close(class_probabilities(trunk, read), original(pixels).softmax(1))


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="other shapes"):
        load_trunk(tmp_path / "other.pth")


def test_photographs_come_in_the_order_of_the_shards(shared):
    assert [photo.key for photo in photographs(shared, "train2")] == ["flickr8k_a", "houses_b"]
    assert [photo.key for photo in photographs(shared, "train")] == ["cub100_c"]
    photo = next(photographs(shared, "train2")).open()
    assert photo.size == (60, 40) and centre(photo, 32).shape == (32, 32, 3)


def test_features_are_computed_once(shared, trunk, monkeypatch):
    pytest.importorskip("onnxruntime")
    trunk = copy.deepcopy(trunk)
    for stage in trunk.blocks:  # as wide as the whole trunk, and half as long to export
        del stage[1:]
    monkeypatch.setattr(features, "load_trunk", lambda: trunk)
    out = shared / "features"
    features.compute(photographs(shared, "train2"), "train2", "whole", out, threads=1)
    keys, found = features.read(out, "whole")
    pixels = np.stack([centre(photo.open(), 224) for photo in photographs(shared, "train2")])
    with torch.inference_mode():
        expected = features.FromBytes(trunk)(torch.from_numpy(pixels)).numpy()
    assert keys == ["flickr8k_a", "houses_b"]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
    monkeypatch.setattr(features, "open_features", lambda *_: pytest.fail("computed again"))
    features.compute(photographs(shared, "train2"), "train2", "whole", out)
    assert features.read(out, "crop")[0] == []


def test_lessons(shared):
    lessons = read_lessons(shared, ["flickr8k_a", "houses_b", "cub100_c", "nowhere_e"], rarest=1)
    answers = [dict(zip(KINDS, row.tolist(), strict=True)) for row in lessons.kinds]
    assert lessons.human.tolist() == [True, False, False, False]
    assert answers[0]["woman"] == 1 and answers[0]["dog"] == 1 and answers[0]["furniture"] == 0
    assert answers[0]["snow"] == -1  # one caption of five says so
    assert answers[1]["furniture"] == 1 and answers[1]["person"] == 0
    assert answers[2]["animal"] == 1 and answers[2]["vehicle"] == 0
    assert set(answers[3].values()) == {-1.0} and lessons.texts[3] == []
    assert "a photo of a bedroom" in lessons.texts[1] and "a blue grouse" in lessons.texts[2]
    assert lessons.words[0, lessons.vocabulary.index("woman")] == pytest.approx(0.4)
    assert not lessons.words[1:].any()


def test_rows_of_texts_are_kept(tmp_path, monkeypatch):
    torch.manual_seed(0)
    tower, cache = empty_text_tower().eval(), tmp_path / "rows.npz"
    first = rows.text_rows(tower, ["a dog", "a cat", "a dog"], cache)
    with torch.inference_mode():
        whole = torch.nn.functional.normalize(tower(torch.from_numpy(rows.tokenize(["a dog"]).astype(np.int64))), dim=1)
    np.testing.assert_allclose(first[0], whole[0], atol=2e-3)
    assert first[0].tobytes() == first[2].tobytes()
    monkeypatch.setattr(rows, "embed", lambda *_: pytest.fail("encoded again"))
    assert rows.text_rows(tower, ["a cat"], cache).tobytes() == first[1:2].tobytes()


def test_unknown_answers_and_empty_captions_do_not_count():
    images, scale, none = torch.eye(4)[:2], torch.tensor(5.0), torch.zeros(4)
    answers = torch.tensor([[1.0, 0, 0, 0], [-1, -1, -1, -1]])
    one = objective.kinds_apart(images[:1], torch.eye(4), answers[:1], scale, none)
    assert objective.kinds_apart(images, torch.eye(4), answers, scale, none) == one
    shares = torch.tensor([[0.4, 0.0, 0, 0], [0, 0, 0, 0]])
    one = objective.words_first(images[:1], torch.eye(4), shares[:1], scale, none)
    assert objective.words_first(images, torch.eye(4), shares, scale, none) == one


def test_learning_brings_photographs_and_captions_together(trunk, capsys):
    """Sixteen photographs of which each has two texts of its own: the branch learns whose they are, the same twice."""
    draw = torch.Generator().manual_seed(0)
    seen = torch.randn(16, FEATURES, generator=draw)
    texts, others = (torch.nn.functional.normalize(torch.randn(n, DIM, generator=draw), dim=1) for n in (32, 3000))
    probabilities = torch.full((16, 1000), 0.001)
    kinds = np.zeros((16, len(KINDS)), np.float32)
    lessons = Lessons([["", ""]] * 16, np.ones(16, bool), np.ones((16, 5), np.float32), list("abcde"), kinds)
    starts, asked = np.arange(0, 33, 2), len(KINDS)
    kind_of = torch.arange(asked)
    data = Data(
        *(seen, probabilities, lessons, texts, starts, others[:5], others[:asked], kind_of, others[:99], others)
    )
    settings = Settings(steps=60, batch=16, others=4, dropout=0.0)
    branch, adapter = learn(data, settings)
    again, _ = learn(data, settings)
    with torch.inference_mode():
        scores = branch(seen) @ adapter(texts).T
        assert (scores.argmax(1) // 2 == torch.arange(16)).float().mean() > 0.9
        torch.testing.assert_close(again(seen), branch(seen))
    assert anchors(others).shape == (1000, DIM) and "step 60" in capsys.readouterr().out


def test_people_are_asked_of_the_probe_alone():
    """Along the direction from other things to people, rows have what they are told, whatever the branches say."""
    draw = torch.Generator().manual_seed(0)
    classes, captions, kinds = (
        torch.nn.functional.normalize(torch.randn(n, DIM, generator=draw), dim=1) for n in (4, 4, 2 * len(KINDS))
    )
    kind_of = torch.arange(2 * len(KINDS)) % len(KINDS)
    direction = people(kinds, kind_of)
    is_people = kind_of < PEOPLE
    assert (kinds[is_people] @ direction).mean() > (kinds[~is_people] @ direction).mean()
    along = torch.tensor([-0.1, 0.0, 0.2, 0.4])
    mixed = mix(classes, captions, direction, along)
    torch.testing.assert_close(mixed.norm(dim=1), torch.ones(4))
    rest = torch.nn.functional.normalize(classes + captions, dim=1)
    rest = rest - (rest @ direction)[:, None] * direction
    torch.testing.assert_close(mixed @ direction, along / (rest.square().sum(1) + along.square()).sqrt())
    other = torch.nn.functional.normalize(classes + 0.5 * direction, dim=1)
    assert (mix(other, captions, direction, along) @ direction - mixed @ direction).abs().max() < 0.05


def test_the_probe_learns_who_has_people(capsys):
    """One feature tells; photographs of which nothing is known do not count, and no answer leaves its bounds."""
    draw = torch.Generator().manual_seed(0)
    seen = torch.randn(200, FEATURES, generator=draw)
    there = seen[:, 3] > 0
    seen[:, :9] *= 4
    kinds = np.zeros((200, len(KINDS)), np.float32)
    kinds[:, 1] = there.numpy()
    kinds[150:] = -1
    lessons = Lessons([[]] * 200, np.zeros(200, bool), np.zeros((200, 0), np.float32), [], kinds)
    nothing = torch.zeros(0, DIM)
    data = Data(seen, torch.zeros(200, 1000), lessons, *[nothing, np.arange(1)], *[nothing] * 5)
    probe = learn_people(data, CaptionBranch(), Settings(people_steps=60, people_batch=64, dropout=0.0))
    with torch.inference_mode():
        along = probe(CaptionBranch().scaled(seen[:150]))
    middle = (PeopleProbe.LEAST + PeopleProbe.MOST) / 2
    assert ((along > middle) == there[:150]).float().mean() > 0.9
    assert along.min() > PeopleProbe.LEAST and along.max() < PeopleProbe.MOST
    assert "people" in capsys.readouterr().out


def test_a_checkpoint_is_the_model_in_half_precision(trunk, tmp_path):
    torch.manual_seed(0)
    classes, people = (torch.nn.functional.normalize(torch.randn(n, DIM), dim=1) for n in (1000, 1))
    tower = ImageTower(trunk, CaptionBranch(), PeopleProbe(), classes, people[0]).eval()
    save(Model(tower, empty_text_tower(), TextAdapter()), tmp_path)
    read = load(tmp_path)
    pixels, tokens = torch.randn(2, 3, 96, 96), torch.randint(1, 9, (2, 77))
    with torch.inference_mode():
        one, other = tower(pixels), read.image(pixels)
        assert (one * other).sum(1).min() > 0.999 and one.norm(dim=1).sub(1).abs().max() < 1e-5
        assert read.text(tokens).shape == (2, DIM)
    assert (tmp_path / "model.safetensors").stat().st_size < 40e6


def test_schedule_ends_at_its_deadline_even_when_it_moves(tmp_path):
    plan = schedule.Schedule(tmp_path, hours=1.0)
    plan.advance()
    assert plan.progress < 0.01
    assert plan.rate(1.0, warmup=0.5) < 0.1
    (tmp_path / "deadline").write_text(f"{time.time() - 1:.0f}")
    assert plan.advance() == 1.0
    assert plan.rate(1.0, warmup=0.5) == pytest.approx(0)


def test_larger_dictionaries_begin_with_ours(monkeypatch):
    monkeypatch.setattr(words, "everyday_words", lambda _: ["red helmet", "person"])
    larger = words.more_words(Path(), 40)
    assert larger[:2] == ["red helmet", "person"] and len(larger) == len(set(larger)) == 40
    assert "way" in larger and "man" not in larger  # ideas are among them, people only by our own choice


def test_shares_of_first_words_that_are_right():
    engine = fc.Engine.from_parts(
        embedding_dim=3,
        dictionary=Dictionary(["dog", "car", "snow"], np.eye(3), np.zeros(3)),
        image_mean=np.zeros(3, np.float32),
    )
    codes = engine.decompose(embeddings=np.array([[0.8, 0.6, 0.0], [0.0, 0.6, 0.8]]), l0=2)
    said = [rightness.said_by(["A puppy in a taxi."]), rightness.said_by(["It snows."])]
    assert evaluate._first_right(codes, said) == pytest.approx((2 / 5 + 1 / 5) / 2)
    right = evaluate._right("class", codes, said)
    assert right == {"words_class": 2.0, "words_right_class": 0.75, "some_word_right_class": 1.0}
