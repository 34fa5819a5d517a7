import re
import shutil

from dcal_reid.data.check import check_dataset


def test_a_benchmark_against_its_official_numbers(market, cfg):
    check = check_dataset("market-1501", cfg, workers=0)
    assert check.name == "Market1501" and not check.missing
    assert "18 images in train, officially 12,936" in check.problems
    assert "6 identities in train, officially 751" in check.problems
    assert "3 identities in gallery, officially 750" in check.problems
    assert "4 cameras, officially 6" in check.problems
    assert len(check.problems) == 8
    # The fixture's distractor was drawn with the seed of a training image.
    assert "0000_c3s1_000003_00.jpg = " in check.problems[-1]
    gallery = check.splits["gallery"]
    assert (gallery.images, gallery.distractors, gallery.identities) == (7, 1, 3)  # junk does not count


def test_a_leak_and_queries_without_a_match(dogs, cfg, write_image):
    write_image(dogs / "gallery" / "bob" / "c2_7.jpg", 777)
    (dogs / "gallery" / "zoe" / "c2_1.jpg").rename(dogs / "gallery" / "zoe" / "c1_9.jpg")
    check = check_dataset("FolderReID", cfg, workers=0)
    assert check.problems == ["identities in training and in test: 1: 'bob'"]
    assert check.splits["query"].queries_without_match == 1
    [note] = check.notes
    assert note.startswith("1 of 2 queries have no match from another camera")
    shutil.rmtree(dogs / "gallery" / "rex")
    assert any(
        "nothing can be evaluated" in problem for problem in check_dataset("FolderReID", cfg, workers=0).problems
    )


def test_copies_across_splits(dogs, cfg):
    shutil.copy(dogs / "train" / "ace" / "c1_1.jpg", dogs / "gallery" / "zoe" / "c2_2.jpg")
    shutil.copy(dogs / "query" / "rex" / "c1_1.jpg", dogs / "gallery" / "rex" / "c2_2.jpg")
    # An item with the query's identity and camera is left out of its ranking.
    shutil.copy(dogs / "query" / "zoe" / "c1_1.jpg", dogs / "gallery" / "zoe" / "c1_2.jpg")
    shutil.copy(dogs / "train" / "bob" / "c1_1.jpg", dogs / "train" / "bob" / "c1_2.jpg")
    check = check_dataset("FolderReID", cfg, workers=0)
    assert len(check.problems) == 2
    assert re.match(r"identical files in train and gallery: 1: .*zoe/c2_2.jpg = .*ace/c1", check.problems[0])
    assert re.match(r"identical files in query and gallery: 1: .*rex/c2_2.jpg = .*rex/c1_1.jpg", check.problems[1])
    assert [split.identical_files for split in check.splits.values()] == [1, 0, 0]


def test_a_copy_with_another_identity(dogs, cfg):
    shutil.copy(dogs / "train" / "ace" / "c1_1.jpg", dogs / "train" / "bob" / "c1_5.jpg")
    [problem] = check_dataset("FolderReID", cfg, workers=0).problems
    assert re.match(r"identical files with two identities in train: 1: .*bob/c1_5.jpg = .*ace/c1_1.jpg", problem)
