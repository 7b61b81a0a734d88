from frigate.variant import VERSION as _wanted

VERSION = {"0.16": "0.16.4", "0.17": "0.17.2", "0.18": "0.18.0"}[_wanted] + "-standin"
