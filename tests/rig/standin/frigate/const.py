from frigate.variant import MEDIA

BASE_DIR = MEDIA
CLIPS_DIR = f"{BASE_DIR}/clips"
CACHE_DIR = f"{CLIPS_DIR}/cache"
RECORD_DIR = f"{BASE_DIR}/recordings"
