from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from banana_delivery.errors import EvidenceError
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.evidence.keys import EvidenceKeys
from banana_delivery.settings import Settings


def test_the_first_record_makes_a_key_that_only_this_user_can_read(tmp_path: Path) -> None:
    keys = EvidenceKeys(tmp_path / "home" / "evidence.keys")
    key = keys.signing()
    assert keys.file
    assert keys.file.stat().st_mode & 0o777 == 0o600
    assert len(key.secret) == 32
    assert keys.accepted() == [key] == [keys.signing()]
    assert key.secret.hex() not in key.name


def test_reading_makes_no_key(tmp_path: Path) -> None:
    keys = EvidenceKeys(tmp_path / "evidence.keys")
    with pytest.raises(EvidenceError, match="first record"):
        keys.accepted()
    assert not list(tmp_path.iterdir())


def test_many_who_come_first_have_one_key(tmp_path: Path) -> None:
    keys = EvidenceKeys(tmp_path / "evidence.keys")
    with ThreadPoolExecutor(8) as pool:
        made = {key.secret for key in pool.map(lambda _: keys.signing(), range(32))}
    assert len(made) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["evidence.keys"]


def test_a_file_that_a_setting_names_is_somebodys_to_make(tmp_path: Path) -> None:
    keys = CodeLocation.of(Settings(home=tmp_path, evidence_key_file=tmp_path / "secret")).evidence
    with pytest.raises(EvidenceError, match="BANANA_EVIDENCE_KEY_FILE"):
        keys.signing()
    assert not (tmp_path / "secret").exists()
    assert CodeLocation.of(Settings(home=tmp_path)).evidence.file == tmp_path / "evidence.keys"


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o666])
def test_a_key_that_others_can_read_or_write_is_none(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "evidence.keys"
    EvidenceKeys(file).signing()
    file.chmod(mode)
    with pytest.raises(EvidenceError, match="chmod 600"):
        EvidenceKeys(file).accepted()


def test_a_secret_that_is_mounted_for_its_pods_group_will_do(tmp_path: Path) -> None:
    file = tmp_path / "evidence.keys"
    EvidenceKeys(file).signing()
    file.chmod(0o440)
    assert EvidenceKeys(file, named=True).signing() == EvidenceKeys(file).signing()


@pytest.mark.parametrize("text", ["", "# only a comment\n", "abcd\n", "not hexadecimal at all\n", "\N{BULLET}\n"])
def test_a_file_without_a_whole_key_is_one_sentence_that_repeats_nothing_of_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "evidence.keys"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(EvidenceError) as refusal:
        EvidenceKeys(file).signing()
    assert "abcd" not in str(refusal.value)
    assert "hexadecimal at all" not in str(refusal.value)


def same_file(home: Path) -> Settings:
    CodeLocation.of(Settings(home=home)).evidence.signing()
    return Settings(home=home, pages_key_file=home / "evidence.keys")


def a_link_to_it(home: Path) -> Settings:
    same_file(home)
    (home / "pages.keys").hardlink_to(home / "evidence.keys")
    return Settings(home=home)


def one_key_of_several(home: Path) -> Settings:
    (home / "evidence.keys").write_text(f"{'a1' * 32}\n{'b2' * 32}\n")
    (home / "pages.keys").write_text(f"{'c3' * 32}\n# an old one\n{'B2' * 32}\n")
    for file in home.iterdir():
        file.chmod(0o600)
    return Settings(home=home)


@pytest.mark.parametrize("share", [same_file, a_link_to_it, one_key_of_several])
def test_the_page_asks_by_no_key_that_signs_records(tmp_path: Path, share: Callable[[Path], Settings]) -> None:
    location = CodeLocation.of(share(tmp_path))
    for load in (location.asking.signing, location.asking.accepted, location.asking.refuse_shared):
        with pytest.raises(
            EvidenceError, match=r"could forge them: .*\(BANANA_PAGES_KEY_FILE\).*openssl rand"
        ) as refusal:
            load()
        assert "\n" not in str(refusal.value)
        assert "b2b2" not in str(refusal.value).lower()
    assert location.evidence.accepted(), "records go on being believed, so that everybody can be brought back"


def test_who_cannot_read_the_keys_of_records_asks_all_the_same(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, evidence_key_file=tmp_path / "elsewhere")
    asking = CodeLocation.of(settings).asking
    asking.refuse_shared()
    key = asking.signing()
    assert asking.accepted() == [key]
