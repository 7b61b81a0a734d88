"""Recorder: records RTSP cameras in segments, whose finished files the mirror uploads."""
