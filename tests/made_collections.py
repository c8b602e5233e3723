"""Made-up copies of public data sets, tens of images each: tables and folders as their publishers have them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

CHEXPERT_LABELS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *(
        "Consolidation",
        "Pneumonia",
        "Atelectasis",
        "Pneumothorax",
        "Pleural Effusion",
        "Pleural Other",
        "Fracture",
    ),
    "Support Devices",
)


def write_image(path: Path, seed: int, bits: int = 8) -> None:
    """Write gray noise, different for each seed; the suffix decides the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = np.uint16 if bits == 16 else np.uint8
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(kind).max, (64, 64), dtype=kind)
    if path.suffix == ".dcm":
        from made_dicom import write_dicom

        write_dicom(path, pixels, bits=bits)
    else:
        Image.fromarray(pixels).save(path)


def _labels(generator: np.random.Generator, rows: int) -> pd.DataFrame:
    """Return CheXpert's columns: 1, 0, -1 and blanks, and now and then No Finding with all else blank."""
    values = generator.choice([1.0, 0.0, -1.0, np.nan], (rows, len(CHEXPERT_LABELS)), p=[0.2, 0.2, 0.1, 0.5])
    table = pd.DataFrame(values, columns=list(CHEXPERT_LABELS))
    clear = generator.random(rows) < 0.4
    table["No Finding"] = np.where(clear, 1.0, np.nan)
    table.loc[clear, list(CHEXPERT_LABELS[1:-1])] = np.nan
    return table


def chexpert(root: Path, folder: str = "CheXpert-v1.0-small") -> pd.DataFrame:
    """Write train and valid; return both tables below each other.

    Of train, the first row has no label, the second uncertain ones only, the third No Finding and edema, and the
    fourth no file.
    """
    generator = np.random.default_rng(1)
    tables = []
    for side, patients in (("train", range(1, 25)), ("valid", range(64541, 64547))):
        rows = [(number, view) for number in patients for view in ("view1_frontal", "view2_lateral")]
        table = pd.DataFrame(
            {
                "Path": [f"{folder}/{side}/patient{number:05d}/study1/{view}.jpg" for number, view in rows],
                "Sex": generator.choice(["Female", "Male", "Unknown"], len(rows)),
                "Age": generator.integers(18, 91, len(rows)),
                "Frontal/Lateral": ["Frontal" if "frontal" in view else "Lateral" for _, view in rows],
                "AP/PA": [generator.choice(["AP", "PA"]) if "frontal" in view else None for _, view in rows],
            }
        ).join(_labels(generator, len(rows)))
        if side == "train":
            table.loc[:2, list(CHEXPERT_LABELS)] = np.nan
            table.loc[1, ["Edema", "Pneumonia"]] = -1
            table.loc[2, ["No Finding", "Edema"]] = 1
        (root / folder).mkdir(parents=True, exist_ok=True)
        table.to_csv(root / folder / f"{side}.csv", index=False)
        for place, path in enumerate(table["Path"]):
            write_image(root / path, 100_000 + int(patients.start) + place)
        tables.append(table)
    (root / tables[0]["Path"][3]).unlink()
    return pd.concat(tables, ignore_index=True)


def mimic_cxr(root: Path) -> pd.DataFrame:
    """Write the three tables, gzipped, and the images; return them joined. One study has no labels."""
    generator = np.random.default_rng(2)
    studies = [(10_000_032 + 1000 * (number // 2), 50_414_267 + number) for number in range(30)]
    rows = [
        (f"{generator.integers(16**8):08x}-{number:08x}-{view}", subject, study, view)
        for number, (subject, study) in enumerate(studies)
        for view in ("PA", "LATERAL")
    ]
    metadata = pd.DataFrame(rows, columns=["dicom_id", "subject_id", "study_id", "ViewPosition"])
    metadata["Rows"] = 3056
    split = metadata[["dicom_id", "study_id", "subject_id"]].assign(
        split=[("train", "train", "validate", "test")[subject // 1000 % 4] for subject in metadata["subject_id"]]
    )
    labels = pd.DataFrame(studies[:-1], columns=["subject_id", "study_id"]).join(
        _labels(generator, len(studies) - 1)
    )
    root.mkdir(parents=True, exist_ok=True)
    for name, table in (("metadata", metadata), ("split", split), ("chexpert", labels)):
        table.to_csv(root / f"mimic-cxr-2.0.0-{name}.csv.gz", index=False)
    for place, (dicom, subject, study, _) in enumerate(rows):
        write_image(root / f"files/p{str(subject)[:2]}/p{subject}/s{study}/{dicom}.jpg", 200_000 + place)
    return metadata.merge(split, on=["dicom_id", "study_id", "subject_id"]).merge(
        labels, on=["subject_id", "study_id"], how="left"
    )


def padchest(root: Path) -> pd.DataFrame:
    """Write the table with its first column of numbers, and 16-bit images in numbered folders."""
    labels = (
        *("['normal']", "['pleural effusion', 'laminar atelectasis']", "['hydropneumothorax ', 'rib fracture']"),
        *("['pulmonary mass', 'subcutaneous emphysema']", "['hiatal hernia']", "['unchanged']", "['exclude']"),
        *("['chronic changes', 'kyphosis']", "['cardiomegaly', 'pulmonary fibrosis', '']", None),
    )
    rows = range(40)
    table = pd.DataFrame(
        {
            "ImageID": [f"21684011136696401{row:04d}_01-{row:03d}.png" for row in rows],
            "ImageDir": [row % 3 for row in rows],
            "PatientID": [f"{93728467832 + row // 2}" for row in rows],
            "PatientSex_DICOM": ["FM"[row // 2 % 2] for row in rows],
            "Projection": [("PA", "L", "AP_horizontal", "COSTAL")[row % 4] for row in rows],
            "Labels": [labels[row % len(labels)] for row in rows],
        }
    )
    root.mkdir(parents=True, exist_ok=True)
    table.to_csv(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv")
    for row in rows:
        write_image(root / str(row % 3) / table["ImageID"][row], 300_000 + row, bits=16)
    return table


VINDR = ("Aortic enlargement", "Atelectasis", "Cardiomegaly", "Lung Opacity", "Nodule/Mass", "Pleural effusion")


def vindr_cxr(root: Path, suffix: str = ".png") -> pd.DataFrame:
    """Write PhysioNet's image labels: three readers per training image, a consensus per test image."""
    generator = np.random.default_rng(4)
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    readers = []
    for image in range(30):
        for reader in generator.choice(17, 3, replace=False):
            found = (generator.random(len(VINDR)) < 0.3).astype(int)
            readers.append((f"{image:032x}", f"R{reader + 1}", *found, int(not found.any())))
    columns = ["image_id", "rad_id", *VINDR, "No finding"]
    train = pd.DataFrame(readers, columns=columns).sample(frac=1, random_state=0)
    test = train.groupby("image_id").max().reset_index().drop(columns="rad_id").tail(6)
    test["image_id"] = [f"{100 + place:032x}" for place in range(6)]
    test["No finding"] = (test[list(VINDR)].sum(axis=1) == 0).astype(int)
    train.assign(**{"Other diseases": 0}).to_csv(root / "annotations/image_labels_train.csv", index=False)
    test.assign(**{"Other disease": 0}).to_csv(root / "annotations/image_labels_test.csv", index=False)
    for side, table in (("train", train), ("test", test)):
        for image in sorted(set(table["image_id"])):
            write_image(root / side / f"{image}{suffix}", 400_000 + int(image, 16))
    return pd.concat([train, test], ignore_index=True)


def vinbigdata(root: Path, suffix: str = ".png") -> pd.DataFrame:
    """Write Kaggle's table, one row per box and reader."""
    generator = np.random.default_rng(5)
    rows = []
    for image in range(20):
        for reader in ("R8", "R9", "R10"):
            found = [name for name in VINDR if generator.random() < 0.25]
            rows += [(f"{image:032x}", name, 0, reader, 1, 2, 30, 40) for name in found]
            rows += [] if found else [(f"{image:032x}", "No finding", 14, reader, None, None, None, None)]
    columns = ["image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max"]
    table = pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=0)
    root.mkdir(parents=True, exist_ok=True)
    table.to_csv(root / "train.csv", index=False)
    for image in range(20):
        write_image(root / f"train/{image:032x}{suffix}", 450_000 + image)
    return table


def rsna(root: Path, suffix: str = ".png") -> pd.DataFrame:
    """Write both tables, with one to three rows for an image with pneumonia."""
    rows, classes = [], []
    for image in range(36):
        name = f"0004cfab-14fd-4e49-80ba-{image:012x}"
        kind = ("Lung Opacity", "Normal", "No Lung Opacity / Not Normal")[image % 3]
        boxes = 1 + image // 3 % 3 if kind == "Lung Opacity" else 0
        rows += [(name, 264.0 + box, 152.0, 213.0, 379.0, 1) for box in range(boxes)]
        rows += [] if boxes else [(name, None, None, None, None, 0)]
        classes += [(name, kind)] * max(boxes, 1)
        write_image(root / f"stage_2_train_images/{name}{suffix}", 500_000 + image)
    labels = pd.DataFrame(rows, columns=["patientId", "x", "y", "width", "height", "Target"])
    labels.to_csv(root / "stage_2_train_labels.csv", index=False)
    pd.DataFrame(classes, columns=["patientId", "class"]).to_csv(
        root / "stage_2_detailed_class_info.csv", index=False
    )
    return labels.assign(**{"class": [kind for _, kind in classes]})


def siim(root: Path, suffix: str = ".png") -> pd.DataFrame:
    """Write the table, with several masks for some images, and an image in two folders of its own each."""
    rows = []
    for image in range(24):
        name = f"1.2.276.0.7230010.3.1.4.8323329.{1000 + image}.1517875160.{100 + image}"
        masks = (["-1"], ["407576 2 1021 7"], ["407576 2", "891504 5 1018 8"])[image % 3]
        rows += [(name, mask) for mask in masks]
        write_image(root / f"dicom-images-train/{name}.2/{name}.1/{name}{suffix}", 600_000 + image)
    table = pd.DataFrame(rows, columns=["ImageId", " EncodedPixels"])
    table.to_csv(root / "train-rle.csv", index=False)
    return table


def openi(root: Path) -> pd.DataFrame:
    """Write both tables and a frontal and a lateral image of each report; return them joined."""
    problems = (
        *("normal", "Cardiomegaly;Pulmonary Atelectasis", "Opacity", "No Indexing", "Calcified Granuloma"),
        *(
            "Hernia, Hiatal;Pleural Effusion",
            "Fractures, Bone;Nodule",
            "Technical Quality of Image Unsatisfactory ",
        ),
    )
    reports = pd.DataFrame(
        {
            "uid": range(1, 25),
            "MeSH": [problems[row % len(problems)] for row in range(24)],
            "Problems": [problems[row % len(problems)] for row in range(24)],
            "findings": "The heart is normal in size, and the lungs are clear.",
        }
    )
    rows = [(uid, f"{uid}_IM-{uid:04d}-{view}001.dcm.png", kind) for uid in reports["uid"]
            for view, kind in ((1, "Frontal"), (2, "Lateral"))]  # fmt: skip
    projections = pd.DataFrame(rows, columns=["uid", "filename", "projection"])
    root.mkdir(parents=True, exist_ok=True)
    reports.to_csv(root / "indiana_reports.csv", index=False)
    projections.to_csv(root / "indiana_projections.csv", index=False)
    for place, name in enumerate(projections["filename"]):
        write_image(root / "images/images_normalized" / name, 700_000 + place)
    return projections.merge(reports, on="uid")


def covid_chestxray(root: Path) -> pd.DataFrame:
    """Write the table and the images; CT scans and rows that are yet to be done are among them."""
    findings = (
        *("Pneumonia/Viral/COVID-19", "No Finding", "Pneumonia/Bacterial/Streptococcus", "Tuberculosis", "todo"),
        *("Pneumonia/Viral/COVID-19", "Unknown", "Pneumonia"),
    )
    rows = range(32)
    table = pd.DataFrame(
        {
            "patientid": [row // 2 for row in rows],
            "sex": [("M", "F", None)[row // 2 % 3] for row in rows],
            "age": [None if row // 2 % 5 == 0 else 40.0 + row // 2 for row in rows],
            "finding": [findings[row % len(findings)] for row in rows],
            "view": [("PA", "AP", "AP Supine", "L")[row % 4] if row % 7 else "Axial" for row in rows],
            "modality": ["X-ray" if row % 7 else "CT" for row in rows],
            "folder": ["images" if row % 7 else "volumes" for row in rows],
            "filename": [f"covid-{row}.{'jpg' if row % 2 else 'png'}" for row in rows],
        }
    )
    root.mkdir(parents=True, exist_ok=True)
    table.to_csv(root / "metadata.csv", index=False)
    for row in rows:
        if row % 7:
            write_image(root / "images" / table["filename"][row], 800_000 + row)
    return table


def nih_google(root: Path) -> pd.DataFrame:
    """Write the labels of validation and test images, and NIH's images in two of its folders."""
    generator = np.random.default_rng(9)
    tables = []
    for side, patients in (("validation", range(1, 13)), ("test", range(20, 32))):
        rows = [(patient, follow_up) for patient in patients for follow_up in range(2)]
        table = pd.DataFrame(
            {
                "Image Index": [f"{patient:08d}_{follow_up:03d}.png" for patient, follow_up in rows],
                "Patient ID": [patient for patient, _ in rows],
                "Patient Age": generator.integers(20, 90, len(rows)),
                "Patient Gender": [("F", "M")[patient % 2] for patient, _ in rows],
                "View Position": generator.choice(["PA", "AP"], len(rows)),
                **{
                    name: generator.choice(["YES", "NO"], len(rows))
                    for name in ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")
                },
            }
        )
        folder = root / "four_findings_expert_labels"
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / f"{side}_labels.csv", index=False)
        for place, name in enumerate(table["Image Index"]):
            write_image(root / f"images_00{1 + place % 2}/images/{name}", 900_000 + 1000 * len(side) + place)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


WRITERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "chexpert": chexpert,
    "mimic-cxr": mimic_cxr,
    "padchest": padchest,
    "vindr-cxr": vindr_cxr,
    "rsna": rsna,
    "siim": siim,
    "openi": openi,
    "covid-chestxray": covid_chestxray,
    "nih-google": nih_google,
}


def positives(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, int]:
    """Return how many rows have 1 in each column."""
    return {name: int((table[name] == 1).sum()) for name in columns}
