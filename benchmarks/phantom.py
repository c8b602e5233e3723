"""Can a classifier learn each finding of the phantom, and can it cheat?

    python benchmarks/phantom.py
    python benchmarks/phantom.py --sheet docs/images/phantom.png   # draws the picture of all findings instead

Trains one small network on all 14 findings at 64², and boosted trees on what tells nothing of place: statistics of
the film's grays, and the table's view, age and sex. Prints AUROC on patients that neither saw, one row a finding.
"""

import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from torch import nn

from clr_hpc.config.pathologies import PATHOLOGIES, title
from clr_hpc.data.source import ImageRecord
from clr_hpc.data.sources.phantom import PhantomSource
from clr_hpc.data.sources.phantom.anatomy import LEFT, RIGHT
from clr_hpc.data.sources.phantom.patients import Examination, Lesion, Patient
from clr_hpc.data.sources.phantom.source import draw_film
from parts.command import parser

IMAGES, EPOCHS, SIZE, SEED = 4000, 14, 64, 0
TRAIN_FRACTION = 0.7


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--sheet", type=Path, help="draw every finding on one patient to this file, and stop")
    arguments = command.parse_args()
    if arguments.sheet:
        draw_sheet(arguments.sheet)
        return

    source = PhantomSource(IMAGES)
    records = source.table().records
    start = time.perf_counter()
    pixels = np.stack([source.read(record, SIZE)[0] for record in records])
    milliseconds = (time.perf_counter() - start) / len(records) * 1000
    labels = np.array([record.labels for record in records])
    train = patients_of_first(records, TRAIN_FRACTION)

    by_network = network_scores(pixels, labels, train)
    by_grays = boosted_scores(gray_statistics(pixels), labels, train)
    by_table = boosted_scores(table_columns(records), labels, train)
    print(f"{len(records)} films, {train.sum()} to train on; {milliseconds:.1f} ms a film; {SIZE}²")
    print(f"{'finding':20} {'share':>6} {'network':>7} {'grays':>7} {'table':>7}")
    for i, pathology in enumerate(PATHOLOGIES):
        truth = labels[~train, i]
        columns = [roc_auc_score(truth, scores[:, i]) for scores in (by_network, by_grays, by_table)]
        print(f"{title(pathology):20} {labels[:, i].mean():6.3f}", *(f"{auroc:7.3f}" for auroc in columns))


def draw_sheet(path: Path) -> None:
    """Draw one patient without findings (PA and AP) and with each finding, 4 films a row."""
    tile, caption, grays = 144, 14, 28
    films = [("No finding, PA", "PA", ()), ("No finding, AP", "AP", ())] + [
        (title(name), "PA", (Lesion(name, LEFT if i % 2 else RIGHT, 0.9, (i,)),))
        for i, name in enumerate(PATHOLOGIES)
    ]
    sheet = Image.new("L", (4 * tile, 4 * (tile + caption)), 255)
    pen = ImageDraw.Draw(sheet)
    for i, (name, view, lesions) in enumerate(films):
        examination = Examination(view, age_years=50, lesions=lesions, entropy=(22,))
        film = Image.fromarray(draw_film(Patient("M", 50, (examination,), entropy=(4,)), examination))
        few_grays = film.resize((tile, tile), Image.Resampling.BOX).point(
            lambda gray: gray * grays // 256 * 255 // grays
        )
        corner = (i % 4 * tile, i // 4 * (tile + caption))
        sheet.paste(few_grays, corner)
        pen.text((corner[0] + 3, corner[1] + tile + 1), name, fill=0)
    sheet.save(path, optimize=True)


def patients_of_first(records: tuple[ImageRecord, ...], fraction: float) -> NDArray[np.bool_]:
    """Return which records belong to the first ``fraction`` of the patients, ``(N,)``."""
    patients = sorted({record.patient for record in records})
    chosen = set(patients[: round(fraction * len(patients))])
    return np.array([record.patient in chosen for record in records])


def gray_statistics(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return mean, spread, 9 quantiles and a histogram of 16 bins for each film, ``(N, 27)``."""
    flat = pixels.reshape(len(pixels), -1)
    histogram = np.stack([np.bincount(film // 16, minlength=16) for film in flat]) / flat.shape[1]
    quantiles = np.quantile(flat, np.linspace(0.1, 0.9, 9), axis=1).T
    return np.column_stack([flat.mean(1), flat.std(1), quantiles, histogram])


def table_columns(records: tuple[ImageRecord, ...]) -> NDArray[np.float64]:
    """Return view, age and sex as numbers, ``(N, 3)``."""
    return np.array(
        [[record.view == "AP", record.age_years, record.sex == "F"] for record in records], dtype=float
    )


def boosted_scores(
    features: NDArray[np.float64], labels: NDArray[np.int64], train: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the held-out films' scores by boosted trees, ``(M, 14)``."""
    scores = []
    for truth in labels.T:
        trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, learning_rate=0.05, random_state=0)
        scores.append(trees.fit(features[train], truth[train]).predict_proba(features[~train])[:, 1])
    return np.stack(scores, axis=1)


def network_scores(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], train: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the held-out films' scores by a network of four convolution blocks, ``(M, 14)``."""
    generator = torch.manual_seed(SEED)
    films = (torch.from_numpy(pixels).float().unsqueeze(1) / 255 - 0.5) * 4
    films = films.contiguous(memory_format=torch.channels_last)
    truths = torch.from_numpy(labels).float()
    learn, held_out = films[torch.from_numpy(train)], films[torch.from_numpy(~train)]
    learn_truths = truths[torch.from_numpy(train)]
    network = small_network().to(memory_format=torch.channels_last)
    batch = 64
    steps = EPOCHS * (len(learn) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(learn), generator=generator).split(batch):
            if len(chosen) < batch:
                continue
            shift = torch.randint(-3, 4, (2,), generator=generator).tolist()
            logits = network(learn[chosen].roll(shift, dims=(2, 3)))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, learn_truths[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(part) for part in held_out.split(256)]).double().numpy()


def small_network() -> nn.Sequential:
    """Return about 0.2 million weights: four blocks of convolutions, each halving the film."""
    layers: list[nn.Module] = []
    channels = 1
    for width, depth in ((12, 1), (24, 2), (48, 2), (96, 2)):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 16, len(PATHOLOGIES)))


if __name__ == "__main__":
    main()
