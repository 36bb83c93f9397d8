"""How affine maps move images, label maps and predictions."""

from __future__ import annotations

import math

import pytest
import torch

from molaug.augmentation import Action, Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import Identity, LearnedUniform
from molaug.exponentials import invert
from molaug.groups import SE2, SO2, Aff2
from molaug.images.action import ImageAction
from molaug.images.batch import ImageBatch
from molaug.images.data import VOID
from molaug.images.losses import mean_of_known

SIZES = [(32, 32), (28, 28), (9, 9), (16, 32), (32, 16), (27, 40)]


def coordinates(height: int, width: int) -> torch.Tensor:
    """x to the right and y up, the shorter side from -1 to 1: (2, height, width) float64."""
    x = (torch.arange(width).double() * 2 + 1 - width) / min(height, width)
    y = (height - 1 - torch.arange(height).double() * 2) / min(height, width)
    return torch.stack(torch.broadcast_tensors(x, y[:, None]))


def smooth(height: int, width: int, graphs: int = 1) -> torch.Tensor:
    """Waves of about half the image: bilinear interpolation is good to 1 % or so."""
    x, y = coordinates(height, width)
    waves = [torch.sin(2 * x + 3 * y + k) + torch.cos(3 * x - y + 2 * k) for k in range(graphs)]
    return torch.stack(waves)[:, None]


def turned(angle: float, graphs: int = 1, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return SO2().exp(torch.full((graphs, 1), angle, dtype=dtype))


def shifted(x: float, y: float) -> torch.Tensor:
    return SE2().exp(torch.tensor([[0.0, x, y]], dtype=torch.float64))


def act(elements: torch.Tensor, images: torch.Tensor, **choices) -> ImageBatch:
    return ImageAction(**choices).act(elements, ImageBatch.whole(images))


def random_element(seed: int = 0, scale: float = 0.3) -> torch.Tensor:
    torch.manual_seed(seed)
    return Aff2().exp(scale * (2 * torch.rand(1, 6, dtype=torch.float64) - 1))


def test_it_is_an_action():
    assert isinstance(ImageAction(), Action)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_identity_changes_nothing(height, width):
    images = torch.rand(2, 3, height, width)
    elements = Aff2().exp(torch.zeros(2, 6))
    moved = act(elements, images)
    back = ImageAction("map").act_on_output(elements, images)
    exact = 0.0 if {height, width} <= {16, 32} else 5e-6  # pixels on powers of two are hit
    assert (moved.images - images).abs().amax() <= exact
    assert (back - images).abs().amax() <= exact
    assert moved.valid.all()


@pytest.mark.parametrize("size", [8, 9, 28, 33])
def test_a_positive_quarter_turn_is_counter_clockwise(size):
    images = torch.rand(1, 2, size, size)
    moved = act(turned(math.pi / 2, dtype=torch.float32), images)
    assert torch.allclose(moved.images, torch.rot90(images, 1, (2, 3)), atol=1e-5)
    assert moved.valid.all()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_half_turn_flips_both_axes(height, width):
    images = torch.rand(1, 2, height, width)
    moved = act(turned(math.pi, dtype=torch.float32), images)
    assert torch.allclose(moved.images, images.flip(2, 3), atol=2e-5)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_translation_moves_right_and_up_in_halves_of_the_shorter_side(height, width):
    pixel = 2 / min(height, width)
    images = torch.rand(1, 1, height, width, dtype=torch.float64)
    moved = act(shifted(pixel, 2 * pixel), images)
    expected = torch.zeros_like(images)
    expected[..., :-2, 1:] = images[..., 2:, :-1]
    assert torch.allclose(moved.images, expected, atol=1e-12)
    inside = torch.zeros(1, height, width, dtype=torch.bool)
    inside[:, :-2, 1:] = True
    assert torch.equal(moved.valid, inside)


@pytest.mark.parametrize("angle", [0.3, 1.0, math.pi / 2, 2.5])
def test_a_disc_stays_a_disc_on_an_oblong_image(angle):
    x, y = coordinates(40, 60)
    disc = torch.exp(-4 * (x**2 + y**2))[None, None]
    moved = act(turned(angle), disc)
    assert ((moved.images - disc)[:, 0][moved.valid]).abs().amax() < 5e-3


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("seed", range(4))
def test_a_constant_stays_constant_where_it_is_valid(padding, seed):
    moved = act(random_element(seed, 1.0), torch.ones(1, 1, 20, 30).double(), padding=padding)
    assert 0 < moved.valid.sum() < 600
    assert (moved.images[:, 0][moved.valid] - 1).abs().amax() < 1e-3


def test_what_was_not_valid_stays_so():
    batch = ImageBatch(torch.ones(1, 1, 16, 16), torch.ones(1, 16, 16, dtype=torch.bool))
    batch.valid[0, 4, 4] = False
    moved = ImageAction().act(turned(math.pi, dtype=torch.float32), batch)
    assert torch.equal(moved.valid, batch.valid.flip(1, 2))


@pytest.mark.parametrize("seed", range(4))
def test_the_inverse_brings_the_picture_back(seed):
    images, element = smooth(40, 60), random_element(seed)
    there = act(element, images)
    back = ImageAction().act(invert(element), there)
    assert back.valid.float().mean() > 0.2
    assert (back.images - images)[:, 0][back.valid].abs().amax() < 0.02
    output = ImageAction("map").act_on_output(element, there.images)
    assert torch.allclose(output[:, 0][back.valid], back.images[:, 0][back.valid])


def test_two_moves_are_the_product():
    images, first, second = smooth(40, 60), random_element(1), random_element(2)
    twice = ImageAction().act(second, act(first, images))
    once = act(second @ first, images)
    both = twice.valid & once.valid
    assert both.float().mean() > 0.2
    assert (twice.images - once.images)[:, 0][both].abs().amax() < 0.02


def test_the_inverse_matrix():
    elements = torch.cat([random_element(seed, 1.0) for seed in range(8)])
    assert torch.allclose(invert(elements), torch.linalg.inv(elements), atol=1e-12)
    assert torch.equal(invert(torch.eye(3)[None]), torch.eye(3)[None])


def test_the_gradient_in_the_widths_is_that_of_finite_differences():
    images, unit = smooth(24, 32, graphs=2), 2 * torch.rand(2, 6, dtype=torch.float64) - 1
    weight = torch.rand(24, 32, dtype=torch.float64)

    def measure(widths: torch.Tensor) -> torch.Tensor:
        moved = act(Aff2().exp(widths * unit), images, padding="border")
        return (moved.images * weight).mean()

    # Away from zero: bilinear interpolation has a kink where a point meets a pixel.
    widths = torch.full((6,), 0.05, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(measure(widths), widths)
    steps = 1e-3 * torch.eye(6, dtype=torch.float64)
    estimate = torch.stack([measure(widths + s) - measure(widths - s) for s in steps]) / 2e-3
    assert gradient.abs().amin() > 1e-3
    assert torch.allclose(gradient, estimate, rtol=0.02, atol=1e-3)


def test_scalars_are_invariant():
    logits = torch.rand(3, 10)
    assert ImageAction().act_on_output(turned(1.0, 3, torch.float32), logits) is logits


def test_labels_get_no_new_classes():
    labels = torch.randint(2, (4, 20, 30)) * 7 + 1  # 1 and 8
    elements = torch.cat([random_element(seed, 1.0) for seed in range(4)])
    moved = ImageAction().act_on_labels(elements, labels)
    assert moved.dtype == labels.dtype
    assert set(moved.unique().tolist()) == {VOID, 1, 8}


def test_labels_move_with_their_image():
    labels = torch.randint(5, (1, 9, 9))
    moved = ImageAction().act_on_labels(turned(math.pi / 2), labels)
    assert torch.equal(moved, torch.rot90(labels, 1, (1, 2)))
    back = ImageAction().act_on_labels(turned(-math.pi / 2), moved)
    assert torch.equal(back, labels)


def test_void_stays_void():
    labels = torch.full((1, 8, 8), VOID)
    assert torch.equal(ImageAction().act_on_labels(turned(1.0), labels), labels)


def test_maps_from_outside_are_no_numbers():
    pixel = shifted(2 / 8, 0)
    back = ImageAction("map").act_on_output(pixel, torch.ones(1, 3, 8, 8).double())
    assert back[..., -1].isnan().all()  # in the moved image this column was beyond the edge
    assert torch.allclose(back[..., :-1], torch.ones(1, 3, 8, 7).double())


def test_maps_are_averaged_over_the_copies_that_saw_the_pixel():
    maps = torch.tensor([[1.0, torch.nan, torch.nan], [3.0, 5.0, torch.nan]]).requires_grad_()
    mean = mean_of_known(maps.reshape(2, 1, 1, 1, 3)).flatten()
    assert torch.equal(mean[:2], torch.tensor([2.0, 5.0]))
    assert mean[2].isnan()
    torch.where(mean.isnan(), 0.0, mean).sum().backward()
    assert torch.equal(maps.grad, torch.tensor([[0.5, 0.0, 0.0], [0.5, 1.0, 0.0]]))


class Brightness(torch.nn.Module):
    """The network of this pixel: its output map is its input."""

    def forward(self, batch: ImageBatch) -> torch.Tensor:
        return batch.images


def test_an_equivariant_average_keeps_an_equivariant_map():
    law = LearnedUniform(SE2(), 0.1, caps={"tx": 1.0, "ty": 1.0})
    images = smooth(32, 48, graphs=2).float()
    augmentation = Augmentation(law, ImageAction("map"))
    model = AveragedModel(Brightness(), augmentation, reduction=mean_of_known)
    output = model(ImageBatch.whole(images), copies=8)
    middle = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    assert (output - images)[middle].abs().amax() < 0.02
    torch.where(output.isnan(), 0.0, output).square().mean().backward()
    assert law.parameter.grad.isfinite().all()


def test_no_augmentation_is_no_change():
    model = AveragedModel(Brightness(), Augmentation(Identity(SE2()), ImageAction("map")))
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(model(ImageBatch.whole(images), copies=1), images)


def test_it_moves_in_single_precision_under_autocast():
    images = smooth(28, 28).float()
    element = turned(0.4, dtype=torch.float32)
    plain = ImageAction().act(element, ImageBatch.whole(images))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = ImageAction().act(element, ImageBatch.whole(images))
        back = ImageAction("map").act_on_output(element, images.bfloat16())
    assert torch.equal(mixed.images, plain.images)
    assert back.dtype == torch.float32


def test_empty_batches_pass():
    images = torch.zeros(0, 3, 8, 8)
    assert len(act(torch.zeros(0, 3, 3), images)) == 0


def test_nothing_is_read_by_the_host():
    """`vmap` refuses whatever looks at a value."""
    images, labels = torch.rand(2, 3, 8, 9), torch.randint(3, (2, 8, 9))

    def moves(elements: torch.Tensor) -> tuple[torch.Tensor, ...]:
        moved = ImageAction().act(elements, ImageBatch.whole(images))
        back = ImageAction("map").act_on_output(elements, images)
        known = ImageAction().act_on_labels(elements, labels)
        return moved.images, moved.valid, mean_of_known(back[None]), known

    elements = torch.cat([random_element(seed) for seed in range(6)]).float().unflatten(0, (3, 2))
    for together, alone in zip(torch.vmap(moves)(elements), moves(elements[1]), strict=True):
        assert torch.allclose(together[1], alone, atol=1e-5, equal_nan=True)
