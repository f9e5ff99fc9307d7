"""nano's training room: crops and their labels, the schedule, the checkpoint's layout."""

import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")
crops = pytest.importorskip("training.builtin.crops")

from training.builtin import depthwise, objective, photos, regions, schedule, train_image  # noqa: E402
from training.builtin.model import create, read_config, read_tower, write_checkpoint  # noqa: E402


@pytest.fixture
def settings():
    return dict(read_config()["image"])


@pytest.fixture
def pack():
    draw = np.random.default_rng(0)
    evidence = draw.integers(-127, 128, (12, 49, 1000), dtype=np.int8)
    return photos.Photos(
        large=photos.Rows([draw.integers(0, 256, (12, 128, 128, 3), dtype=np.uint8)]),
        probabilities=photos.Rows([np.full((12, 1000), 1e-3, np.float16)]),
        regions=photos.Rows([evidence[:5], evidence[5:]]),
        small=draw.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8),
        small_classes=np.arange(12, dtype=np.int16),
    )


@pytest.fixture
def stream(pack, settings):
    return lambda: crops.Crops(pack, settings, [0.5] * 3, [0.25] * 3, seed=3, device="cpu")


def test_crops_are_finite_and_labels_are_probabilities(stream):
    images, labels, known, evidence = stream().batch(16, 64)
    assert images.shape == (16, 3, 64, 64) and torch.isfinite(images).all()
    assert (labels >= 0).all()
    torch.testing.assert_close(labels.sum(1), torch.ones(16), atol=2e-3, rtol=0)
    assert evidence.shape == (len(known), 1000) and torch.isfinite(evidence).all()
    assert (known < 12).all()  # a quarter of a batch are small photographs, whose logits nobody knows


def test_logits_of_crops_that_others_are_pasted_into_are_not_known(pack, settings):
    for share, expected in ((1.0, 0), (0.0, 12)):
        settings |= {"mixture": share, "noise_border": 0.0, "pure_noise": 0.0}
        assert len(crops.Crops(pack, settings, [0.5] * 3, [0.25] * 3, 3, "cpu").batch(16, 32).known) == expected


def test_features_and_embedding_are_those_of_the_tower():
    tower = create(read_config()).visual.eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, embeddings = objective.pooled_and_embedded(tower, images)
        torch.testing.assert_close(embeddings, tower(images))
    assert features.shape == (2, tower.trunk.get_classifier().in_features)


def test_objective_is_zero_in_the_logits_when_features_tell_them(stream, settings):
    targets = {name: torch.eye(1000) for name in ("anchor", "definition", "prompt")}
    settings |= {"cosine_weight": 0.0, "definition_weight": 0.0, "prompt_weight": 0.0}
    loss = objective.Objective(targets, settings, 1000)
    batch = stream().batch(16, 32)
    wanted = torch.zeros(16, 1000)
    wanted[batch.known] = batch.evidence - batch.evidence.mean(1, keepdim=True)
    torch.nn.init.eye_(loss.logits.weight), torch.nn.init.zeros_(loss.logits.bias)
    assert loss(wanted, torch.ones(16, 1000), batch).item() == pytest.approx(0, abs=1e-9)
    everywhere_the_mean = wanted.clone()
    everywhere_the_mean[batch.known] = wanted[batch.known].mean(0)
    assert loss(everywhere_the_mean, torch.ones(16, 1000), batch).item() == pytest.approx(1, rel=1e-5)


def test_rows_of_several_arrays_are_rows_of_one():
    arrays = [np.arange(6).reshape(3, 2), np.empty((0, 2), int), np.arange(6, 16).reshape(5, 2)]
    rows, whole = photos.Rows(arrays), np.arange(16).reshape(8, 2)
    assert len(rows) == 8
    for chosen in ([], [0], [2, 3], [7], [0, 0, 3, 3, 7], range(8)):
        index = np.array(chosen, np.int64)
        np.testing.assert_array_equal(rows[index], whole[index])


def test_same_seed_same_crops(stream):
    first, second = stream().batch(8, 64), stream().batch(8, 64)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


def test_a_loader_gives_the_same_crops_and_follows_the_resolution(stream):
    resolution = torch.tensor(48)
    batches = crops.Batches(stream, 4, resolution)
    loader = iter(torch.utils.data.DataLoader(batches, batch_size=None, num_workers=0))
    assert torch.equal(next(loader)[0], stream().batch(4, 48)[0])
    resolution.fill_(64)
    assert next(loader)[0].shape[-1] == 64


@pytest.mark.parametrize("side", [(1, 1), (2, 2), (3, 3), (4, 4), (2, 5)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_sums_are_the_convolution(side, kernel):
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(6, 6, kernel, padding=kernel // 2, groups=6, bias=False)
    fast = torch.nn.Sequential(torch.nn.Conv2d(6, 6, kernel, padding=kernel // 2, groups=6, bias=False))
    fast[0].load_state_dict(plain.state_dict())
    assert depthwise.speed_up(fast) == 1
    images = torch.randn(3, 6, *side)
    wanted, found = plain(images), fast(images)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    wanted.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(fast[0].weight.grad, plain.weight.grad, atol=1e-4, rtol=1e-4)


def test_towers_come_back_from_a_checkpoint(tmp_path):
    pytest.importorskip("open_clip")
    config = read_config()
    model = create(config)
    write_checkpoint(model, config, tmp_path)
    image, text = read_tower(tmp_path, "image"), read_tower(tmp_path, "text")
    assert image.keys() == model.visual.state_dict().keys()
    assert not any(name.startswith("visual") for name in text) and "token_embedding.weight" in text
    for name, value in {**text, **{f"visual.{n}": v for n, v in image.items()}}.items():
        torch.testing.assert_close(value, model.state_dict()[name], atol=1e-3, rtol=1e-3)


def test_rare_classes_are_drawn_more_often():
    shown = np.repeat([0, 1, 2], [90, 9, 1])
    probabilities = np.zeros((100, 1000), np.float16)
    probabilities[np.arange(100), shown] = 1
    chance = crops.rarity(probabilities, probabilities.mean(0, dtype=np.float32), 0.5)
    by_class = [chance[shown == k][0] / chance[shown == 0][0] for k in range(3)]
    assert chance.sum() == pytest.approx(1) and by_class[1] == pytest.approx(10**0.5, rel=0.01)
    assert by_class[1] < by_class[2] <= 9
    even = crops.rarity(probabilities, probabilities.mean(0, dtype=np.float32), 0)
    np.testing.assert_allclose(even, 0.01)


def test_kept_logits_are_within_half_a_step():
    logits = torch.linspace(-24, 24, 1001)
    kept = regions._as_bytes(logits).float() * regions.STEP
    assert (kept - logits).abs().max() <= regions.STEP / 2 + 1e-5
    assert regions._as_bytes(torch.tensor([-1e4, 1e4])).tolist() == [-127, 127]


def test_region_weights_follow_the_box():
    boxes = torch.tensor(
        [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1 / 7, 1 / 7], [-1.0, 0.0, 0.5 / 7, 1 / 7], [3.0, 3.0, 4.0, 4.0]]
    )
    weights = regions.region_weights(boxes)
    torch.testing.assert_close(weights[0], torch.full((49,), 1 / 49))
    torch.testing.assert_close(weights[1:3, 0], torch.ones(2))
    assert weights[3].sum() == 0


def test_schedule_ends_at_its_deadline_even_when_it_moves(tmp_path):
    plan = schedule.Schedule(tmp_path, hours=1.0)
    plan.advance()
    assert plan.progress < 0.01
    assert plan.rate(1.0, warmup=0.5) < 0.1
    (tmp_path / "deadline").write_text(f"{time.time() - 1:.0f}")
    assert plan.advance() == 1.0
    assert plan.rate(1.0, warmup=0.5) == pytest.approx(0)


def test_stage_is_the_last_that_has_begun():
    stages = [[0.0, 64], [0.6, 96]]
    assert [schedule.stage(stages, p) for p in (0.0, 0.59, 0.6, 1.0)] == [64, 64, 96, 96]


def test_a_saved_learner_goes_on_as_if_it_had_not_stopped(stream, tmp_path):
    rows = torch.nn.functional.normalize(torch.randn(1000, 256, generator=torch.Generator().manual_seed(1)), dim=1)
    targets = dict.fromkeys(("anchor", "definition", "prompt"), rows)
    torch.manual_seed(0)
    first = train_image.Learner(read_config(), targets, "cpu", None)
    source = stream()
    batches = [source.batch(8, 32) for _ in range(6)]
    losses = [first.learn(batch, 1e-3) for batch in batches[:4]]
    first.save(tmp_path / "resume.pt", 0.25)
    second = train_image.Learner(read_config(), targets, "cpu", None)
    assert second.restore(tmp_path / "resume.pt") == 0.25 and (second.step, second.seen) == (4, 32)
    for batch in batches[4:]:
        losses.append(first.learn(batch, 1e-3))
        assert second.learn(batch, 1e-3) == losses[-1]
    assert np.isfinite(losses).all() and len(set(losses)) == 6
    views = (batches[0].images, torch.zeros(8, dtype=torch.long))
    assert first.measure(views) == second.measure(views)
    for name, value in first.average.state.items():
        torch.testing.assert_close(value, second.average.state[name])


def test_soft_labels_mix_in_the_true_class():
    index = np.arange(10, dtype=np.uint16)[None].repeat(2, 0)
    rows = photos.soft_labels(index, np.full((2, 10), 0.1, np.float16), np.array([-1, 500], np.int16))
    np.testing.assert_allclose(rows.sum(1), 1, atol=2e-3)
    assert rows[1, 500] == pytest.approx(0.3, abs=1e-3) and rows[0, 500] < 1e-3


def test_config_is_a_model_of_the_promised_size():
    pytest.importorskip("open_clip")
    from training.builtin.model import create

    config = read_config()
    model = create(config)
    image = sum(p.numel() for p in model.visual.parameters())
    whole = sum(p.numel() for p in model.parameters())
    assert image <= 4e6 and 2 * whole <= 40e6
    side = config["model_cfg"]["vision_cfg"]["image_size"]
    model.eval()
    with torch.inference_mode():
        assert model.encode_image(torch.zeros(1, 3, side, side)).shape == (1, config["model_cfg"]["embed_dim"])
