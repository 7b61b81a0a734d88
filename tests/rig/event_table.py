"""Frigate's tables of events, for folders that look like Frigate's without a Frigate."""

# Columns and indexes of Frigate 0.16 to 0.18, and the tables of its review items.
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
CREATE TABLE reviewsegment (
    id VARCHAR(30) NOT NULL PRIMARY KEY, camera VARCHAR(20) NOT NULL, start_time DATETIME NOT NULL,
    end_time DATETIME, severity VARCHAR(30) NOT NULL, thumb_path VARCHAR(255) NOT NULL,
    data JSON NOT NULL);
CREATE TABLE userreviewstatus (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, user_id VARCHAR(30) NOT NULL,
    review_segment_id VARCHAR(30) NOT NULL REFERENCES reviewsegment (id) ON DELETE CASCADE,
    has_been_reviewed INTEGER NOT NULL DEFAULT 0);
"""
INSERT = """INSERT INTO event (id, label, camera, start_time, end_time, zones, has_clip,
    has_snapshot, retain_indefinitely, data)
    VALUES (?, 'person', ?, ?, ?, '["yard"]', 1, 1, 0, ?)"""
"""One row; the parameters are id, camera, start_time, end_time and data."""
