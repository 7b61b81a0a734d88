"""Frigate's event table, for folders that look like Frigate's without a Frigate."""

# Columns and indexes of Frigate 0.16 to 0.18.
TABLE = """
CREATE TABLE event (
    id VARCHAR(30) NOT NULL PRIMARY KEY, label VARCHAR(20) NOT NULL, camera VARCHAR(20) NOT NULL,
    start_time DATETIME NOT NULL, end_time DATETIME, top_score REAL, false_positive INTEGER,
    zones JSON NOT NULL, thumbnail TEXT, has_clip INTEGER NOT NULL, has_snapshot INTEGER NOT NULL,
    region JSON, box JSON, area INTEGER, retain_indefinitely INTEGER NOT NULL,
    sub_label VARCHAR(100), ratio REAL, plus_id VARCHAR(30), score REAL, model_hash VARCHAR(32),
    detector_type VARCHAR(32), model_type VARCHAR(32), data JSON NOT NULL);
CREATE INDEX event_camera ON event (camera);
CREATE INDEX event_label ON event (label);
CREATE INDEX event_start_time_end_time ON event (start_time DESC, end_time DESC);
CREATE INDEX event_label_start_time ON event (label, start_time DESC);
"""
INSERT = """INSERT INTO event (id, label, camera, start_time, end_time, zones, has_clip,
    has_snapshot, retain_indefinitely, data)
    VALUES (?, 'person', ?, ?, ?, '["yard"]', 1, 1, 0, ?)"""
"""One row; the parameters are id, camera, start_time, end_time and data."""
