from enum import Enum


class EventTypeEnum(str, Enum):  # noqa: UP042  Frigate has it like this
    api = "api"
    tracked_object = "tracked_object"


class EventStateEnum(str, Enum):  # noqa: UP042
    start = "start"
    update = "update"
    end = "end"
