from pathlib import Path

from clr_hpc.data.tables.folders import spread
from clr_hpc.data.tables.label_table import read_label_table


def test_a_row_of_a_study_is_one_for_each_of_its_images(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("study,Mass\np1/s1/,1\n.\\p1\\s2,0\ns7,1\ns3,0\nabsent,1\np1/s1/a.png,0\n")
    files = ["p1/s1/a.png", "p1/s1/b.png", "p1/s2/c.png", "p2/deep/s7/d.png", "p1/s3/e.png", "p2/s3/f.png"]
    rows = spread(read_label_table(tmp_path / "table.csv"), 0, files).rows
    assert [(row.number, *row.cells) for row in rows] == [
        (2, "p1/s1/a.png", "1"),
        (2, "p1/s1/b.png", "1"),
        (3, "p1/s2/c.png", "0"),
        (4, "p2/deep/s7/d.png", "1"),
        (5, "s3", "0"),
        (6, "absent", "1"),
        (7, "p1/s1/a.png", "0"),
    ]
