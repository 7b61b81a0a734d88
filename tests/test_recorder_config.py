"""The recorder's configuration: what it takes, and that it names every fault with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from frigate_mirror.recorder import config
from frigate_mirror.recorder.config import Config
from frigate_mirror.settings.settings import SettingsError
from tests.rig import ROOT

SECRETS = ("hunter2", "very-secret-key")
WHOLE = """\
storage:
  local_path: "/var/lib/camera-backup/segments"
s3:
  access_key_id: "AKEY"
  secret_access_key: "very-secret-key"
  bucket: "camera-backups"
  endpoint: "https://account.r2.cloudflarestorage.com"
cameras:
  - name: "front-door"
    rtsp_url: "rtsp://user:hunter2@10.0.0.5:554/stream"
    enabled: true
  - name: "back-yard"
    rtsp_url: "rtsps://user:hunter2@10.0.0.6/stream"
    enabled: false
recording:
  segment_duration: 1800
upload:
  check_interval: 30
  delete_after_upload: false
"""


def loaded(folder: Path, text: str, **environ: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(text)
    return config.load(path, environ)


def faults(folder: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        loaded(folder, text, **environ)
    assert not any(secret in str(raised.value) for secret in SECRETS)
    return raised.value.faults


def test_the_example_of_the_document_is_understood(tmp_path: Path) -> None:
    found = loaded(tmp_path, WHOLE)
    assert [camera.name for camera in found.cameras] == ["front-door", "back-yard"]
    assert [camera.name for camera in found.enabled] == ["front-door"]
    assert found.enabled[0].url.reveal() == "rtsp://user:hunter2@10.0.0.5:554/stream"
    assert {camera.segment_seconds for camera in found.cameras} == {1800}
    assert found.delete_after_upload is False
    mirror = found.mirror
    assert mirror.s3.bucket == "camera-backups"
    assert mirror.s3.endpoint_url == "https://account.r2.cloudflarestorage.com"
    assert mirror.s3.secret_key.reveal() == "very-secret-key"
    assert mirror.sweep.interval == 30
    assert mirror.state.clips_dir is None
    assert not any(secret in repr(found) for secret in SECRETS)


def test_without_its_optional_parts_the_defaults_of_the_document_count(tmp_path: Path) -> None:
    text = "s3: {bucket: backups}\ncameras: [{name: a, rtsp_url: 'rtsp://10.0.0.5/x'}]\n"
    found = loaded(tmp_path, text)
    assert found.folder == Path("/var/lib/camera-backup/segments")
    assert found.mirror.state.folder == Path("/var/lib/camera-backup/mirror")
    assert (found.cameras[0].segment_seconds, found.delete_after_upload) == (3600, True)
    assert (found.mirror.sweep.interval, found.mirror.s3.endpoint_url) == (300, "")
    assert (found.max_size, found.max_age) == (0, 0)
    assert found.cameras[0].enabled


def test_all_faults_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    text = """\
s3:
  bucket: "s3://x"
  buckets: y
cameras:
  - name: front
    rtsp_url: rtsp://user:hunter2#x@10.0.0.5/x
  - name: FRONT
    rtsp_url: http://10.0.0.5/x
  - name: ../etc
    rtsp_url: rtsp://10.0.0.5/x
    ca_file: /etc/hostname
  - name: last
recording:
  segment_duration: 5
mirror:
  MIRROR_BANDWIDTH_LIMIT: 2Q
  FRIGATE_URL: http://frigate
"""
    found = faults(tmp_path, text)
    lines = [int(fault.split()[1].rstrip(":")) for fault in found]
    assert lines == [2, 3, 6, 7, 8, 9, 11, 12, 14, 16, 17]
    assert found[1].endswith("is it bucket?")
    assert "write it as its code" in found[2]
    assert found[3].startswith("line 7: cameras[1].name: cameras[0] has this name already")


def test_the_template_that_install_writes_is_refused_for_its_placeholders_alone(
    tmp_path: Path,
) -> None:
    template = (ROOT / "frigate_mirror/recorder/config.example.yaml").read_text()
    found = faults(tmp_path, template)
    assert len(found) == 5
    assert all("still has the placeholder" in fault for fault in found)
    replaced = template.replace("YOUR_ACCESS_KEY_ID", "k").replace("YOUR_SECRET_ACCESS_KEY", "s")
    replaced = replaced.replace("YOUR_ENDPOINT_URL", "s3.example.com")
    replaced = replaced.replace("username:password@camera-ip", "user:pw@10.0.0.5")
    assert len(loaded(tmp_path, replaced).enabled) == 2


def test_secrets_can_lie_in_files_and_in_credentials_of_systemd(tmp_path: Path) -> None:
    for name, text in (("url", "rtsp://user:hunter2@10.0.0.5/x"), ("key", "very-secret-key"),
                       ("rtsp_url.yard", "rtsp://10.0.0.6/x")):  # fmt: skip
        (tmp_path / name).write_text(f"{text}\n")
    text = f"""\
s3: {{bucket: backups, access_key_id: AKEY, secret_access_key_file: {tmp_path}/key}}
cameras: [{{name: front, rtsp_url_file: {tmp_path}/url}}, {{name: yard}}]
"""
    found = loaded(tmp_path, text, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert found.mirror.s3.secret_key.reveal() == "very-secret-key"
    assert found.cameras[0].url.reveal() == "rtsp://user:hunter2@10.0.0.5/x"
    assert found.cameras[1].url.reveal() == "rtsp://10.0.0.6/x"


def test_the_destination_can_be_a_remote_of_rclone_instead(tmp_path: Path) -> None:
    cameras = "cameras: [{name: a, rtsp_url: 'rtsp://10.0.0.5/x'}]\n"
    found = loaded(tmp_path, "rclone: {remote: 'gdrive:cameras'}\n" + cameras)
    assert found.mirror.rclone.remote == "gdrive:cameras"
    assert any("bucket: missing" in fault for fault in faults(tmp_path, cameras))
    both = "s3: {bucket: backups}\nrclone: {remote: 'gdrive:x'}\n" + cameras
    assert any("rclone.remote" in fault for fault in faults(tmp_path, both))


def test_any_setting_of_the_mirror_can_be_given(tmp_path: Path) -> None:
    more = "mirror:\n  NOTIFY_NTFY_URL: https://ntfy.sh/cameras\n  MIRROR_HTTP_PORT: 9480\n"
    found = loaded(tmp_path, WHOLE + more)
    assert found.mirror.notify.ntfy_url.reveal() == "https://ntfy.sh/cameras"
    assert found.mirror.report.http_port == 9480
    for own in ("MIRROR_STATE_DIR: /x", "MIRROR_SPOOL_LIMIT_MB: 5", "S3_BUCKET: other"):
        assert faults(tmp_path, f"{WHOLE}mirror: {{{own}}}\n")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "just words", "s3: [", "a: {b: c", "\t- x", "cameras: 5", "s3: {bucket: [a]}",
     "? [a]\n: b\n", "a: &a [*a]\n", "s3: {bucket: a, bucket: b}"],
)  # fmt: skip
def test_a_file_of_another_form_is_refused_in_words(tmp_path: Path, text: str) -> None:
    assert all(fault.isprintable() for fault in faults(tmp_path, text))


def test_a_secret_in_a_file_that_is_no_yaml_is_not_repeated(tmp_path: Path) -> None:
    assert faults(tmp_path, "s3:\n  secret_access_key: 'hunter2\n  bucket: x\n")
    assert faults(tmp_path, "cameras:\n  - {name: a, rtsp_url: rtsp://a:hunter2@[b/x}\n")


def test_numbers_that_are_secrets_stay_as_they_are_written(tmp_path: Path) -> None:
    text = "s3: {bucket: backups, access_key_id: 0123, secret_access_key: 1e5}\n"
    found = loaded(tmp_path, text + "cameras: [{name: a, rtsp_url: 'rtsp://10.0.0.5/x'}]\n")
    assert found.mirror.s3.access_key.reveal() == "0123"
    assert found.mirror.s3.secret_key.reveal() == "1e5"
