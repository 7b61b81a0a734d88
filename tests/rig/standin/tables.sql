-- Frigate's tables of events and recordings, with the columns and indexes of 0.17. Other versions differ little:
-- 0.18 adds recordings.motion_heatmap.

CREATE TABLE IF NOT EXISTS event (
    id VARCHAR(30) NOT NULL PRIMARY KEY, label VARCHAR(20) NOT NULL, camera VARCHAR(20) NOT NULL,
    start_time DATETIME NOT NULL, end_time DATETIME, top_score REAL, false_positive INTEGER,
    zones JSON NOT NULL, thumbnail TEXT, has_clip INTEGER NOT NULL, has_snapshot INTEGER NOT NULL,
    region JSON, box JSON, area INTEGER, retain_indefinitely INTEGER NOT NULL,
    sub_label VARCHAR(100), ratio REAL, plus_id VARCHAR(30), score REAL, model_hash VARCHAR(32),
    detector_type VARCHAR(32), model_type VARCHAR(32), data JSON NOT NULL);
CREATE INDEX IF NOT EXISTS event_camera ON event (camera);
CREATE INDEX IF NOT EXISTS event_label ON event (label);
CREATE INDEX IF NOT EXISTS event_start_time_end_time ON event (start_time DESC, end_time DESC);
CREATE INDEX IF NOT EXISTS event_label_start_time ON event (label, start_time DESC);

CREATE TABLE IF NOT EXISTS recordings (
    id VARCHAR(30) NOT NULL PRIMARY KEY, camera VARCHAR(20) NOT NULL, path VARCHAR(255) NOT NULL,
    start_time DATETIME NOT NULL, end_time DATETIME NOT NULL, duration REAL NOT NULL,
    objects INTEGER, motion INTEGER, segment_size REAL NOT NULL, dBFS INTEGER, regions INTEGER);
CREATE UNIQUE INDEX IF NOT EXISTS recordings_path ON recordings (path);
CREATE INDEX IF NOT EXISTS recordings_camera ON recordings (camera);
CREATE INDEX IF NOT EXISTS recordings_camera_segment_size ON recordings (camera, segment_size);
CREATE INDEX IF NOT EXISTS recordings_camera_start_time_end_time
    ON recordings (camera, start_time DESC, end_time DESC);
CREATE INDEX IF NOT EXISTS recordings_api_recordings_summary
    ON recordings (camera, start_time DESC, duration, motion, objects);
CREATE INDEX IF NOT EXISTS recordings_start_time ON recordings (start_time);
CREATE INDEX IF NOT EXISTS recordings_activity ON recordings (camera, start_time DESC, regions);

CREATE TABLE IF NOT EXISTS timeline (
    timestamp DATETIME NOT NULL, camera VARCHAR(20) NOT NULL, source VARCHAR(20) NOT NULL,
    source_id VARCHAR(30), class_type VARCHAR(50) NOT NULL, data JSON);
CREATE INDEX IF NOT EXISTS timeline_camera ON timeline (camera);
CREATE INDEX IF NOT EXISTS timeline_source ON timeline (source);
CREATE INDEX IF NOT EXISTS timeline_source_id ON timeline (source_id);

CREATE TABLE IF NOT EXISTS reviewsegment (
    id VARCHAR(30) NOT NULL PRIMARY KEY, camera VARCHAR(20) NOT NULL, start_time DATETIME NOT NULL,
    end_time DATETIME, severity VARCHAR(30) NOT NULL, thumb_path VARCHAR(255) NOT NULL,
    data JSON NOT NULL);
CREATE INDEX IF NOT EXISTS review_segment_camera ON reviewsegment (camera);
CREATE INDEX IF NOT EXISTS review_segment_start_time_end_time
    ON reviewsegment (start_time DESC, end_time DESC);
CREATE TABLE IF NOT EXISTS userreviewstatus (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, user_id VARCHAR(30) NOT NULL,
    review_segment_id VARCHAR(30) NOT NULL REFERENCES reviewsegment (id) ON DELETE CASCADE,
    has_been_reviewed INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX IF NOT EXISTS userreviewstatus_user_segment
    ON userreviewstatus (user_id, review_segment_id);
