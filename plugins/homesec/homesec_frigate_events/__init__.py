"""Frigate's events as clips for HomeSec, and a bucket as HomeSec's storage.

    plugin.py        what HomeSec imports: registers the four parts below
    source.py        the source `frigate_events`
    predetection.py  the filter `frigate_predetection`
    context.py       the analyzer `frigate_context`
    storage.py       the storage `s3`
    models.py        the configuration of all four

    hub.py           the mirror that the source is made of, one for each Frigate and folder
    camera.py        one camera of HomeSec: which events it wants
    event.py         what Frigate says of an event, as the sidecar has it
    folder.py        the folder of clips, with a sidecar beside each
    delivery.py      gives the clips of the folder to HomeSec

Only the first group knows HomeSec, and the second one never imports the first.
"""

__version__ = "0.1.0"
